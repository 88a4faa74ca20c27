using '../main.bicep'

// LiveKit alone, for anyone who can reach the service.
param environmentName = 'livekit'
param location = 'westeurope'
param principalId = '11111111-1111-4111-8111-111111111111'
param callerAuth = 'anonymous'
param livekitUrl = 'wss://livekit.example.com'
