// The browsers that the tests drive: how each is started so that it speaks to this machine alone, and
// what its console says that no page wrote.
//
// `BROWSERS=chromium` (or `firefox`, or `webkit`) narrows to one. Chromium is driven over CDP, which can do more,
// Firefox over WebDriver BiDi, WebKitGTK over plain WebDriver, which can do least: it runs where it is named.

import { existsSync } from 'node:fs';
import puppeteer from 'puppeteer-core';
import { launch as launch_webkit } from './webkit.js';

/** A port of loopback that refuses: whatever a browser wants from outside of the tests ends there. */
const NOWHERE = '127.0.0.1:9';

/** A name that leads to this machine, as `localhost` does, but is not a secure context. */
export const INSECURE_HOST = 'page.test';

const FIREFOX_PREFERENCES = {
  // The net under everything below: what is not on this machine goes to a proxy that refuses.
  'network.proxy.type': 1,
  'network.proxy.http': '127.0.0.1',
  'network.proxy.http_port': 9,
  'network.proxy.ssl': '127.0.0.1',
  'network.proxy.ssl_port': 9,
  'network.proxy.no_proxies_on': `localhost, 127.0.0.1, ${INSECURE_HOST}`,
  'network.proxy.failover_direct': false,
  'network.dns.localDomains': INSECURE_HOST,
  // No QUIC, no DNS over HTTPS, nothing looked up or fetched ahead.
  'network.http.http3.enable': false,
  'network.trr.mode': 5,
  'network.dns.disablePrefetch': true,
  'network.prefetch-next': false,
  'network.http.speculative-parallel-limit': 0,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.notify.checkForProxies': false,
  // No updates of anything.
  'app.update.enabled': false,
  'app.update.auto': false,
  'app.update.background.enabled': false,
  'browser.search.update': false,
  'extensions.update.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'extensions.systemAddon.update.url': '',
  'extensions.blocklist.enabled': false,
  'media.gmp-manager.url': '',
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  // No safe browsing, tracking lists, revocation lists, remote settings, experiments.
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.safebrowsing.downloads.remote.enabled': false,
  'browser.safebrowsing.provider.google4.updateURL': '',
  'browser.safebrowsing.provider.mozilla.updateURL': '',
  'security.OCSP.enabled': 0,
  'security.remote_settings.crlite_filters.enabled': false,
  'security.remote_settings.intermediates.enabled': false,
  'services.settings.server': 'data:,#none',
  'app.normandy.enabled': false,
  'app.shield.optoutstudies.enabled': false,
  'messaging-system.rsexperimentloader.enabled': false,
  // No telemetry, location, push, accounts, suggestions.
  'toolkit.telemetry.enabled': false,
  'toolkit.telemetry.unified': false,
  'toolkit.telemetry.server': '',
  'datareporting.policy.dataSubmissionEnabled': false,
  'datareporting.healthreport.uploadEnabled': false,
  'datareporting.usage.uploadEnabled': false,
  'browser.region.update.enabled': false,
  'browser.region.network.url': '',
  'browser.discovery.enabled': false,
  'browser.topsites.contile.enabled': false,
  'browser.ml.enable': false,
  'dom.push.connection.enabled': false,
  'dom.push.serverURL': '',
  'identity.fxaccounts.enabled': false,
};

const BROWSERS = {
  chromium: {
    path: process.env.CHROMIUM ?? '/usr/bin/chromium',
    launch: (path, profile, flags, more) => puppeteer.launch({
      executablePath: path,
      headless: true,
      acceptInsecureCerts: true,
      ...more,
      userDataDir: profile,
      args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
        `--proxy-server=${NOWHERE}`, '--proxy-bypass-list=localhost;127.0.0.1;*.test',
        `--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`, ...flags,
      ],
    }),
    own_words: [/^Failed to load resource/],
  },
  firefox: {
    path: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    launch: (path, profile, flags, more) => puppeteer.launch({
      browser: 'firefox',
      protocol: 'webDriverBiDi',
      executablePath: path,
      headless: true,
      acceptInsecureCerts: true,
      ...more,
      userDataDir: profile,
      args: flags,
      extraPrefsFirefox: FIREFOX_PREFERENCES,
      // A crash is to be seen here and sent nowhere.
      env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1', MOZ_DISABLE_AUTO_SAFE_MODE: '1' },
    }),
    // A connection that broke. With any other reason it is the server's fault.
    own_words: [/^Cross-Origin Request Blocked: .* \(Reason: CORS request did not succeed\)/],
  },
  webkit: {
    // The driver, which knows where its browser is.
    path: process.env.WEBKIT ?? '/usr/bin/WebKitWebDriver',
    launch: (path) => launch_webkit(path, NOWHERE),
    // What it says itself goes to no console that the tests see.
    own_words: [],
  },
};

/** The browsers to test in: those of `BROWSERS`, or the two that can be driven through every test. */
export const KINDS = (process.env.BROWSERS?.split(/[\s,]+/).filter(Boolean) ?? ['chromium', 'firefox']);

for (const kind of KINDS) {
  if (!BROWSERS[kind]) throw new Error(`BROWSERS names ${kind}; there are ${Object.keys(BROWSERS).join(' and ')}`);
}

/** Why this browser cannot be driven here, or false. */
export function unavailable(kind) {
  const { path } = BROWSERS[kind];
  return existsSync(path) ? false : `${kind} is not installed (${path})`;
}

/** Starts a headless browser of this kind with an empty profile in that folder, and with these flags and launch options of its own besides. */
export function launch(kind, profile, flags = [], more = {}) {
  return BROWSERS[kind].launch(BROWSERS[kind].path, profile, flags, more);
}

/** Whether the browser itself says this in the console, of a request that failed; not the page. */
export function is_browser_message(kind, text) {
  return BROWSERS[kind].own_words.some((form) => form.test(text));
}
