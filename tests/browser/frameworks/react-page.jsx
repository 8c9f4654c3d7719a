import { createRoot, hydrateRoot } from 'react-dom/client';
import 'incoming-js/ui';
import { create_queue } from 'incoming-js/queue';
import { Form, List } from './react-app.jsx';

const { server } = document.documentElement.dataset;
hydrateRoot(document.querySelector('#root'), <Form server={server} />, { onRecoverableError: (error) => console.error(`hydration: ${error}`) });
window.queue = create_queue({ ticket_url: '/ticket', uploader: { hostname: server } });
createRoot(document.querySelector('#list')).render(<List queue={window.queue} />);
