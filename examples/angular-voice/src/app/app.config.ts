import { provideHttpClient, withFetch } from '@angular/common/http';
import { ApplicationConfig, provideBrowserGlobalErrorListeners } from '@angular/core';
import { provideRouter, withComponentInputBinding } from '@angular/router';
import { provideRoomkey } from '@roomkey/angular';
import { environment } from '../environments/environment';
import { routes } from './app.routes';
import { provideIcons } from './shared/icons';

export const appConfig: ApplicationConfig = {
  providers: [
    provideBrowserGlobalErrorListeners(),
    provideRouter(routes, withComponentInputBinding()),
    provideIcons(),
    // Where callers sign in, the interceptor of the sign-in library goes here and adds the bearer:
    // provideHttpClient(withFetch(), withInterceptors([authHttpInterceptorFn])). Only with fetch can
    // a page that closes still end the session of a project.
    provideHttpClient(withFetch()),
    // A person waits for the answer: rather say what is wrong than try for long.
    provideRoomkey({ url: environment.roomkeyUrl, retry: { attempts: 2 } }),
  ],
};
