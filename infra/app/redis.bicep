// The smallest Azure Managed Redis, and its address with its access key as a secret in the vault.
param name string
param location string
param tags object
param vaultName string
param secretName string

var port = 10000

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: { name: 'Balanced_B0' }
  properties: {
    minimumTlsVersion: '1.2'
    // Counters that are lost begin anew with full budgets; a second node is not worth its price.
    highAvailability: 'Disabled'
    publicNetworkAccess: 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: port
    clusteringPolicy: 'EnterpriseCluster' // one address for all keys; roomkey does not follow MOVED
    evictionPolicy: 'VolatileTTL' // every counter has an expiry, and the nearest to it goes first
    accessKeysAuthentication: 'Enabled' // off by default; roomkey signs in by password
  }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource address 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: secretName
  properties: {
    value: 'rediss://:${uriComponent(database.listKeys().primaryKey)}@${cluster.properties.hostName}:${port}'
    contentType: 'text/plain'
  }
}
