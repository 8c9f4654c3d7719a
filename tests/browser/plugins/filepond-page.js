// The page of the tests of `incoming-js/filepond`.
import * as FilePond from 'filepond';
import { incomingProcess } from 'incoming-js/filepond';

const process = incomingProcess({ ticketUrl: '/ticket', hostname: document.documentElement.dataset.server });
window.pond = FilePond.create(document.querySelector('input'), { server: { process, revert: null }, allowMultiple: true });
