export const environment = {
  /**
   * Address of roomkey. Empty: below `/api` of the page's own origin, as with `proxy.conf.json` while
   * developing and with a Static Web App that has roomkey as its linked backend.
   */
  roomkeyUrl: '',
};
