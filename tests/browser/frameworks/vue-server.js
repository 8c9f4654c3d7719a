import { renderToString } from 'vue/server-renderer';
import 'incoming-js/ui';
import { create } from './vue-app.js';

export const render = (server) => renderToString(create(server));
