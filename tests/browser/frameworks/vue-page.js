import 'incoming-js/ui';
import { create } from './vue-app.js';

create(document.documentElement.dataset.server).mount('#root');
