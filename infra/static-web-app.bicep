// A static web app (an Angular build, for example) with roomkey linked below /api of the same site. Deployed by itself into
// the resource group of the app: docs/deploy.md, "Add an Angular app on Static Web Apps".
//
// Linking switches App Service authentication of the Functions app on, so that callers come through this site only;
// deploy roomkey with callerAuth easy-auth.
targetScope = 'resourceGroup'

@description('Name of the static web app.')
param name string

@description('A region that offers static web apps; content is served from everywhere.')
@allowed(['westus2', 'centralus', 'eastus2', 'westeurope', 'eastasia'])
param location string = 'westeurope'

@description('Name of the Functions app: the output ROOMKEY_APP of infra/main.bicep.')
param appName string

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource site 'Microsoft.Web/staticSites@2025-03-01' = {
  name: name
  location: location
  sku: { name: 'Standard', tier: 'Standard' } // the free plan cannot link a backend
  properties: {
    allowConfigFileUpdates: true
    stagingEnvironmentPolicy: 'Disabled' // only production has the backend
  }
}

resource backend 'Microsoft.Web/staticSites/linkedBackends@2025-03-01' = {
  parent: site
  name: 'roomkey'
  properties: {
    backendResourceId: app.id
    region: app.location
  }
}

output url string = 'https://${site.properties.defaultHostname}'
