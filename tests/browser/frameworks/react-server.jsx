import { renderToString } from 'react-dom/server';
import 'incoming-js/ui';
import { Form } from './react-app.jsx';

export const render = (server) => renderToString(<Form server={server} />);
