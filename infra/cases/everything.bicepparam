using '../main.bicep'

// Everything that there is: three providers, project keys, TURN, signed-in callers, shared limits, an instance that
// never stops, a collector that needs headers, mail.
param environmentName = 'everything'
param location = 'swedencentral'
param principalId = '11111111-1111-4111-8111-111111111111'
param principalType = 'ServicePrincipal'
param callerAuth = 'oidc'
param oidcIssuer = 'https://login.example.com'
param oidcAudience = 'api://roomkey'
param oidcScope = 'rooms.join'
param livekitUrl = 'wss://livekit.example.com'
param azureOpenAi = true
param realtimeModelVersion = '2026-06-25'
param transcriptionModel = 'gpt-4o-mini-transcribe'
param openAi = true
param projects = true
param turnUrls = 'turn:turn.example.com:3478,turns:turn.example.com:5349'
param redis = true
param maximumInstanceCount = 100
param alwaysReadyInstances = 1
param otlpEndpoint = 'https://otlp.example.com'
param otlpHeaders = true
param tracesSampler = 'traceidratio'
param tracesSamplerArg = '1'
param alertEmail = 'voice-on-call@example.com'
param logDailyCapGb = 5
param moreSettings = {
  ROOMKEY_DEFAULT_PROVIDER: 'livekit'
  ROOMKEY_ROOM_PATTERN: 'standup-.*'
  ROOMKEY_REALTIME_INSTRUCTIONS: 'Answer in one sentence.'
}
