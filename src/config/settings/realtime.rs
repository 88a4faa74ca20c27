//! Settings of Azure OpenAI, OpenAI, and what both have in common.

use super::setting::{Setting, optional, secret, with_default};

pub(super) const REALTIME: &[Setting] = &[
    optional(
        "AZURE_OPENAI_ENDPOINT",
        "The Azure OpenAI resource: `https://my-resource.openai.azure.com`, optionally followed by \
         `/openai` or `/openai/v1`. `http://…` is accepted for a loopback address only.",
    ),
    optional(
        "AZURE_OPENAI_DEPLOYMENT",
        "The name of the deployment. It is the default model of Azure OpenAI.",
    ),
    secret(
        "AZURE_OPENAI_API_KEY",
        "A key of the resource. Absent: an Entra token of the managed identity is used, which \
         needs the role Cognitive Services OpenAI User.",
    ),
    optional(
        "AZURE_OPENAI_TRANSCRIPTION_MODEL",
        "The deployment that transcribes the caller's speech.",
    ),
    with_default(
        "ROOMKEY_ENTRA_SCOPE",
        "https://cognitiveservices.azure.com/.default",
        "The scope of Entra tokens for Azure OpenAI. It differs in other Azure clouds.",
    ),
    secret("OPENAI_API_KEY", "The key of an OpenAI project."),
    with_default(
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        "The base URL of OpenAI's API or of a compatible one. `http://…` is accepted for a \
         loopback address only.",
    ),
    with_default(
        "ROOMKEY_OPENAI_MODEL",
        "gpt-realtime-2.1",
        "The default model of OpenAI.",
    ),
    with_default(
        "ROOMKEY_DEFAULT_PROVIDER",
        "the only one configured, else livekit",
        "The provider of a request that names none: `livekit`, `azure-openai` or `openai`. It must \
         be configured.",
    ),
    optional(
        "ROOMKEY_REALTIME_MODELS",
        "The models and deployments that a caller may request in addition to the provider's \
         default, separated by commas.",
    ),
    with_default(
        "ROOMKEY_REALTIME_VOICES",
        "alloy, ash, ballad, coral, echo, sage, shimmer, verse, marin, cedar",
        "The voices that a caller may request, separated by commas. A name that begins with \
         `voice_` is a custom voice of OpenAI.",
    ),
    with_default("ROOMKEY_REALTIME_VOICE", "marin", "The default voice."),
    optional(
        "ROOMKEY_REALTIME_INSTRUCTIONS",
        "The instructions for the model, at most 8192 bytes. Anyone who holds a client secret can \
         read and replace them: write nothing confidential here.",
    ),
    optional(
        "ROOMKEY_REALTIME_SESSION",
        "A JSON object, at most 8192 bytes, that is merged into each session: turn detection, \
         language, tools. It must not contain `type`, `model`, `instructions` or \
         `audio.output.voice`.",
    ),
    with_default(
        "ROOMKEY_REALTIME_SECRET_SECONDS",
        "60",
        "The lifetime to request for a client secret, 10 to 600 s. The provider may choose another.",
    ),
    with_default(
        "ROOMKEY_REALTIME_RATE_LIMIT",
        "20/15m",
        "How many client secrets each caller may request, in the format of `ROOMKEY_RATE_LIMIT`; \
         or `off`. Such a request counts against both limits.",
    ),
];
