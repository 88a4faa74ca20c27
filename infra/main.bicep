// roomkey in Azure: a Functions app on the Flex Consumption plan, and what it needs, in a resource group of its own.
// docs/deploy.md explains every step and parameter. No key is in any app setting: secrets are read from Key Vault with
// the app's identity.
targetScope = 'subscription'

@description('Name of the azd environment. It becomes part of the resource group\'s name and seeds all other names.')
@minLength(1)
@maxLength(48)
param environmentName string

@description('Region of everything except Azure OpenAI.')
@minLength(1)
param location string

@description('Object id of the person or pipeline that deploys and then writes the secrets. Empty: grant that role yourself.')
param principalId string = ''

@description('Whether principalId is a person or a service principal.')
@allowed(['User', 'ServicePrincipal'])
param principalType string = 'User'

// Callers

@description('Who may ask for tokens: oidc, callers with an access token of your identity provider; easy-auth, users who signed in through a linked static web app or App Service authentication; anonymous, anyone.')
@allowed(['oidc', 'easy-auth', 'anonymous'])
param callerAuth string

@description('With oidc: the issuer, exactly as its discovery document has it.')
param oidcIssuer string = ''

@description('With oidc: accepted audiences, separated by commas.')
param oidcAudience string = ''

@description('With oidc: the scope or role that a caller must have. Empty: none.')
param oidcScope string = ''

@description('With oidc and Entra ID: accepted tenant ids, separated by commas. Empty: those of the issuer.')
param oidcTenants string = ''

// Providers

@description('The LiveKit server as browsers reach it, wss://… Empty: no LiveKit. The key pair goes into Key Vault.')
param livekitUrl string = ''

@description('Creates an Azure OpenAI resource with a Realtime deployment, which the app opens with its identity.')
param azureOpenAi bool = false

@description('Region of the Azure OpenAI resource, one that offers the model. Empty: the same as of everything else.')
param azureOpenAiLocation string = ''

@description('The Realtime model to deploy.')
param realtimeModel string = 'gpt-realtime-2.1'

@description('Its version. Empty: the default version of the service.')
param realtimeModelVersion string = ''

@description('The quota of the deployment, in the units of its model.')
@minValue(1)
param realtimeCapacity int = 1

@description('A model that transcribes what callers say, deployed beside the other. Empty: none.')
param transcriptionModel string = ''

@description('Uses OpenAI itself, with a project key from Key Vault.')
param openAi bool = false

@description('Stores OpenAI keys of your customers, encrypted, for sessions of their projects (docs/projects.md).')
param projects bool = false

@description('TURN servers whose static-auth-secret is in Key Vault, separated by commas. Empty: none.')
param turnUrls string = ''

@description('The id of a TURN key of Cloudflare, whose API token is in Key Vault. Empty: none.')
param cloudflareTurnKeyId string = ''

// Limits and scale

@description('Creates an Azure Managed Redis, through which all instances share their rate limits.')
param redis bool = false

@description('How many instances the app may grow to. Without Redis, rate limits hold for each instance by itself.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that never stop, so that no request waits for a start. They cost money all the time.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('More settings of docs/settings.md by name, for example { ROOMKEY_ROOM_PATTERN: \'standup-.*\' }. They win over those set here. Never a secret.')
param moreSettings object = {}

// Telemetry

@description('An OpenTelemetry collector that takes OTLP over HTTP, https://… Empty: nothing is sent.')
param otlpEndpoint string = ''

@description('The collector needs headers, such as a key: they go into Key Vault, as name=value pairs separated by commas.')
param otlpHeaders bool = false

@description('Which requests are traced: the values of OTEL_TRACES_SAMPLER.')
@allowed(['always_on', 'always_off', 'traceidratio', 'parentbased_always_on', 'parentbased_always_off', 'parentbased_traceidratio'])
param tracesSampler string = 'always_on'

@description('The share of requests that a sampler with traceidratio traces, from 0 to 1, such as 0.01. Empty: all.')
param tracesSamplerArg string = ''

@description('Lets the Functions host export to the collector too, so that roomkey\'s spans are children of the host\'s. Switches the alert rules off, which then find nothing.')
param hostTelemetry bool = false

// Operation

@description('Where alerts are mailed. Empty: the alert rules exist and notify nobody.')
param alertEmail string = ''

@description('GB of logs a day after which Azure stops ingesting until the next day; -1: no cap. A cap also silences the alerts.')
param logDailyCapGb int = 1

var tags = { 'azd-env-name': environmentName }
var suffix = uniqueString(subscription().id, environmentName, location)
// Key Vault allows 24 characters, storage accounts lower-case letters and digits only.
var names = {
  app: 'roomkey-${suffix}'
  identity: 'id-roomkey-${suffix}'
  workspace: 'log-roomkey-${suffix}'
  component: 'appi-roomkey-${suffix}'
  storage: 'rk${suffix}'
  projectsStorage: 'rkp${suffix}'
  vault: 'kv-rk-${suffix}'
  openAi: 'oai-roomkey-${suffix}'
  redis: 'redis-roomkey-${suffix}'
}
// Secrets that the app reads. The script infra/set-secrets writes those that are missing.
var secrets = {
  ROOMKEY_ADMIN_KEYS: 'roomkey-admin-keys'
  ROOMKEY_HASH_KEY: 'roomkey-hash-key'
  OPENAI_API_KEY: 'openai-api-key'
  ROOMKEY_REDIS_URL: 'roomkey-redis-url'
  ROOMKEY_KEK_V1: 'roomkey-kek-v1'
  ROOMKEY_TURN_SECRET: 'roomkey-turn-secret'
  CLOUDFLARE_TURN_API_TOKEN: 'cloudflare-turn-api-token'
  OTEL_EXPORTER_OTLP_HEADERS: 'otel-exporter-otlp-headers'
}
var projectsContainer = 'projects'

// What the program would refuse at its start is refused before anything is created.
var checkedCallerAuth = callerAuth == 'oidc' && (empty(oidcIssuer) || empty(oidcAudience))
  ? fail('callerAuth oidc needs oidcIssuer and oidcAudience.')
  : empty(livekitUrl) && !azureOpenAi && !openAi && !projects && empty(moreSettings)
      ? fail('Nothing to serve: set livekitUrl, azureOpenAi, openAi or projects.')
      : !empty(turnUrls) && !empty(cloudflareTurnKeyId)
          ? fail('Set turnUrls or cloudflareTurnKeyId, not both.')
          : callerAuth
// Headers may hold a key, which nobody on the way may read.
var checkedOtlpEndpoint = otlpHeaders && !startsWith(toLower(otlpEndpoint), 'https://')
  ? fail('otlpHeaders needs an otlpEndpoint that begins with https://.')
  : hostTelemetry && (empty(otlpEndpoint) || otlpHeaders)
      ? fail('hostTelemetry needs an otlpEndpoint and no otlpHeaders: the Functions host reads no headers from Key Vault.')
      : otlpEndpoint

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  scope: group
  params: { name: names.identity, location: location, tags: tags }
}

module monitoring 'app/monitoring.bicep' = {
  scope: group
  params: {
    name: names.component
    workspaceName: names.workspace
    location: location
    tags: tags
    identityName: names.identity
    dailyCapGb: logDailyCapGb
  }
  dependsOn: [identity]
}

module alerts 'app/alerts.bicep' = {
  scope: group
  params: {
    componentName: names.component
    location: location
    tags: tags
    email: alertEmail
    enabled: !hostTelemetry
  }
  dependsOn: [monitoring]
}

module vault 'app/key-vault.bicep' = {
  scope: group
  params: {
    name: names.vault
    location: location
    tags: tags
    identityName: names.identity
    writerId: principalId
    writerType: principalType
  }
  dependsOn: [identity]
}

module openAiResource 'app/openai.bicep' = if (azureOpenAi) {
  scope: group
  params: {
    name: names.openAi
    location: empty(azureOpenAiLocation) ? location : azureOpenAiLocation
    tags: tags
    identityName: names.identity
    model: realtimeModel
    modelVersion: realtimeModelVersion
    capacity: realtimeCapacity
    transcriptionModel: transcriptionModel
  }
  dependsOn: [identity]
}

module redisCache 'app/redis.bicep' = if (redis) {
  scope: group
  params: {
    name: names.redis
    location: location
    tags: tags
    vaultName: names.vault
    secretName: secrets.ROOMKEY_REDIS_URL
  }
  dependsOn: [vault]
}

module projectsStore 'app/projects.bicep' = if (projects) {
  scope: group
  params: {
    name: names.projectsStorage
    containerName: projectsContainer
    location: location
    tags: tags
    identityName: names.identity
  }
  dependsOn: [identity]
}

module app 'app/function-app.bicep' = {
  scope: group
  params: {
    name: names.app
    storageName: names.storage
    location: location
    tags: tags
    identityName: names.identity
    componentName: names.component
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    settings: union(
      {
        KEY_VAULT_URL: 'https://${names.vault}${environment().suffixes.keyvaultDns}'
        ROOMKEY_CALLER_AUTH: checkedCallerAuth
        ROOMKEY_ADMIN_KEYS_SECRET_NAME: secrets.ROOMKEY_ADMIN_KEYS
        ROOMKEY_HASH_KEY_SECRET_NAME: secrets.ROOMKEY_HASH_KEY
      },
      empty(oidcIssuer) ? {} : { ROOMKEY_OIDC_ISSUER: oidcIssuer },
      empty(oidcAudience) ? {} : { ROOMKEY_OIDC_AUDIENCE: oidcAudience },
      empty(oidcScope) ? {} : { ROOMKEY_OIDC_SCOPE: oidcScope },
      empty(oidcTenants) ? {} : { ROOMKEY_OIDC_TENANTS: oidcTenants },
      // The pair has default names in Key Vault, so no setting names it.
      empty(livekitUrl) ? {} : { LIVEKIT_URL: livekitUrl },
      azureOpenAi
        ? {
            AZURE_OPENAI_ENDPOINT: 'https://${names.openAi}.openai.azure.com'
            AZURE_OPENAI_DEPLOYMENT: 'realtime'
          }
        : {},
      azureOpenAi && !empty(transcriptionModel) ? { AZURE_OPENAI_TRANSCRIPTION_MODEL: 'transcription' } : {},
      openAi ? { OPENAI_API_KEY_SECRET_NAME: secrets.OPENAI_API_KEY } : {},
      redis ? { ROOMKEY_REDIS_URL_SECRET_NAME: secrets.ROOMKEY_REDIS_URL } : {},
      projects
        ? {
            ROOMKEY_STORE: 'https://${names.projectsStorage}.blob.${environment().suffixes.storage}/${projectsContainer}'
            ROOMKEY_KEK_V1_SECRET_NAME: secrets.ROOMKEY_KEK_V1
          }
        : {},
      empty(turnUrls)
        ? {}
        : { ROOMKEY_TURN_URLS: turnUrls, ROOMKEY_TURN_SECRET_SECRET_NAME: secrets.ROOMKEY_TURN_SECRET },
      empty(cloudflareTurnKeyId)
        ? {}
        : {
            CLOUDFLARE_TURN_KEY_ID: cloudflareTurnKeyId
            CLOUDFLARE_TURN_API_TOKEN_SECRET_NAME: secrets.CLOUDFLARE_TURN_API_TOKEN
          },
      empty(checkedOtlpEndpoint)
        ? {}
        : {
            OTEL_EXPORTER_OTLP_ENDPOINT: checkedOtlpEndpoint
            // What the program speaks. The host reads the same setting, and its own default is grpc.
            OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf'
            OTEL_TRACES_SAMPLER: tracesSampler
          },
      empty(otlpEndpoint) || empty(tracesSamplerArg) ? {} : { OTEL_TRACES_SAMPLER_ARG: tracesSamplerArg },
      otlpHeaders ? { OTEL_EXPORTER_OTLP_HEADERS_SECRET_NAME: secrets.OTEL_EXPORTER_OTLP_HEADERS } : {},
      // Not set by a collector alone. It makes the host export its spans and all log lines, and hand on a traceparent of
      // its own. But then it ignores logging.applicationInsights of host.json and writes records of another form into
      // Application Insights, in which the queries of ops/azure find nothing. And it reads OTEL_EXPORTER_OTLP_HEADERS
      // from an app setting only, where no key belongs: a collector that needs one would refuse it.
      hostTelemetry ? { AzureFunctionsJobHost__telemetryMode: 'OpenTelemetry' } : {},
      moreSettings
    )
  }
  dependsOn: [identity, monitoring, vault]
}

@description('Where clients ask, for example POST <this>/api/token.')
output ROOMKEY_URL string = app.outputs.url

@description('The vault that the secrets belong in.')
output ROOMKEY_KEY_VAULT string = vault.outputs.name

@description('Names of secrets that infra/set-secrets makes up where they are missing.')
output ROOMKEY_GENERATED_SECRETS string = join(
  concat([secrets.ROOMKEY_ADMIN_KEYS, secrets.ROOMKEY_HASH_KEY], projects ? [secrets.ROOMKEY_KEK_V1] : []),
  ' '
)

@description('Names of secrets that only you have. The service answers 503 to whoever needs one that is missing.')
output ROOMKEY_OWN_SECRETS string = join(
  concat(
    empty(livekitUrl) ? [] : ['livekit-api-key', 'livekit-api-secret'],
    openAi ? [secrets.OPENAI_API_KEY] : [],
    empty(turnUrls) ? [] : [secrets.ROOMKEY_TURN_SECRET],
    empty(cloudflareTurnKeyId) ? [] : [secrets.CLOUDFLARE_TURN_API_TOKEN],
    otlpHeaders ? [secrets.OTEL_EXPORTER_OTLP_HEADERS] : []
  ),
  ' '
)

@description('What to do next.')
output ROOMKEY_NEXT_STEP string = 'Ask ${app.outputs.url}/api/health/ready: each secret must be fresh. Then set web origins in host.json and run azd up again.'

@description('The name of the Functions app, for az functionapp commands and infra/static-web-app.bicep.')
output ROOMKEY_APP string = app.outputs.name

output AZURE_RESOURCE_GROUP string = group.name
