# The image of `make image`, for whoever has a container engine: `make image && docker build --tag roomkey .`
# A test holds it to what scripts/image writes.
FROM scratch
ARG VERSION=0.1.0
COPY dist/image/root/ /
USER 65532:65532
WORKDIR /app
ENV ROOMKEY_BIND=0.0.0.0
ENV ROOMKEY_LOG_FORMAT=json
EXPOSE 7071/tcp
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="roomkey" org.opencontainers.image.version="$VERSION" org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENTRYPOINT ["/app/roomkey"]
