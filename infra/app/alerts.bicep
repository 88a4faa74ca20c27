// Alert rules over the log lines (ops/azure/alerts.json) and a workbook (ops/azure/workbook.json).
param componentName string
param location string
param tags object
param email string
param enabled bool

type alert = {
  name: string
  title: string
  description: string
  severity: int
  frequency: string
  window: string
  threshold: int
  query: string[]
}

var alerts alert[] = loadJsonContent('../../ops/azure/alerts.json')

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-roomkey'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'roomkey'
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in alerts: {
    name: 'roomkey-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.title
      description: alert.description
      severity: alert.severity
      enabled: enabled
      scopes: [component.id]
      evaluationFrequency: alert.frequency
      windowSize: alert.window
      criteria: {
        allOf: [
          {
            query: join(alert.query, '\n')
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: alert.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      autoMitigate: true
      actions: { actionGroups: empty(email) ? [] : [mail.id] }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(component.id, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'roomkey'
    category: 'workbook'
    sourceId: component.id
    serializedData: loadTextContent('../../ops/azure/workbook.json')
  }
}
