// The page of the tests of `incoming-js/uppy`: Uppy with its Dashboard and Golden Retriever, as a project uses them.
import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import GoldenRetriever from '@uppy/golden-retriever';
import Incoming from 'incoming-js/uppy';
import { set_server_hostname } from 'incoming-js';

set_server_hostname(document.documentElement.dataset.server);
window.seen = [];
const uppy = (window.uppy = new Uppy({ id: 'papers' }));
if (location.search !== '?bare') uppy.use(Dashboard, { inline: true, target: 'main', showProgressDetails: true });
uppy.use(Incoming, { ticketUrl: '/ticket', allowedMetaFields: ['name'] });
if (location.search === '?retrieve') uppy.use(GoldenRetriever, { expires: 60_000 });
uppy.on('upload-success', (file, { body }) => window.seen.push(['success', file.name, body.id]));
uppy.on('upload-error', (file, error) => window.seen.push(['error', file?.name, error.message]));
uppy.on('complete', ({ successful, failed }) => window.seen.push(['complete', successful.length, failed.length]));
