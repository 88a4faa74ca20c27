/** Stand-ins for rooms and calls, for the unit tests of an app. */
export {
  provideRoomkeyTesting,
  RoomkeyTesting,
  TestRealtimeCall,
  TestVoiceRoom,
} from './roomkey-testing';

