using '../main.bicep'

// Azure OpenAI alone, opened with the app's identity, for signed-in callers, and a collector to which the Functions host
// exports too.
param environmentName = 'azure-openai'
param location = 'westeurope'
param callerAuth = 'oidc'
param oidcIssuer = 'https://login.example.com'
param oidcAudience = 'api://roomkey'
param azureOpenAi = true
param azureOpenAiLocation = 'swedencentral'
param otlpEndpoint = 'https://otlp.example.com'
param tracesSampler = 'parentbased_always_on'
param hostTelemetry = true
