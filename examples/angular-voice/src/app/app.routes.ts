import { Routes } from '@angular/router';

export const routes: Routes = [
  {
    path: 'room',
    title: 'Room · Voice',
    loadComponent: () => import('./room/room-page').then((module) => module.RoomPage),
  },
  {
    path: 'assistant',
    title: 'Assistant · Voice',
    loadComponent: () => import('./assistant/assistant-page').then((module) => module.AssistantPage),
  },
  { path: '**', redirectTo: 'room' },
];
