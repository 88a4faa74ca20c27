using '../main.bicep'

// Azure OpenAI alone, opened with the app's identity, for signed-in callers.
param environmentName = 'azure-openai'
param location = 'westeurope'
param callerAuth = 'oidc'
param oidcIssuer = 'https://login.example.com'
param oidcAudience = 'api://roomkey'
param azureOpenAi = true
param azureOpenAiLocation = 'swedencentral'
