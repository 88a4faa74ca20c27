// An Azure OpenAI resource without keys, and a Realtime deployment named "realtime".
param name string
param location string
param tags object
param identityName string
param model string
param modelVersion string
param capacity int
param transcriptionModel string

var cognitiveServicesOpenAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    customSubDomainName: name // Entra tokens work on a resource's own host name only
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled' // browsers send their SDP offer here
  }
}

resource realtime 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = {
  parent: account
  name: 'realtime'
  sku: { name: 'GlobalStandard', capacity: capacity }
  properties: {
    model: { format: 'OpenAI', name: model, ...(empty(modelVersion) ? {} : { version: modelVersion }) }
    versionUpgradeOption: 'OnceNewDefaultVersionAvailable'
  }
}

resource transcription 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = if (!empty(transcriptionModel)) {
  parent: account
  name: 'transcription'
  sku: { name: 'GlobalStandard', capacity: capacity }
  properties: {
    model: { format: 'OpenAI', name: transcriptionModel }
    versionUpgradeOption: 'OnceNewDefaultVersionAvailable'
  }
  dependsOn: [realtime] // a resource takes one new deployment at a time
}

resource mayUse 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identity.id, cognitiveServicesOpenAiUser)
  scope: account
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cognitiveServicesOpenAiUser)
  }
}
