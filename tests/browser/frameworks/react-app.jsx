// A form in React 19: rendered on a server, hydrated in the browser; and a list on a queue of its own, by a hook.
import { useEffect, useRef, useState, useSyncExternalStore } from 'react';

export function Form({ server }) {
  const element = useRef(null);
  const [finished, setFinished] = useState(0);
  useEffect(() => {
    const count = () => setFinished((n) => n + 1);
    const node = element.current;
    node.addEventListener('incoming-finish', count);
    return () => node.removeEventListener('incoming-finish', count);
  }, []);
  return (
    <main>
      <form method="post" action="/posted">
        <label htmlFor="up">Papers</label>
        <incoming-upload id="up" ref={element} name="files" ticket-url="/ticket" hostname={server} multiple>
          <input type="file" name="files_plain" multiple />
        </incoming-upload>
        <button id="send">Send</button>
      </form>
      <output>{finished}</output>
    </main>
  );
}

export function List({ queue }) {
  const { entries, files_done, files_total } = useSyncExternalStore(queue.subscribe, queue.snapshot, queue.snapshot);
  return (
    <section>
      <p id="counts">{files_done} of {files_total}</p>
      <ul>{entries.map((entry) => <li key={entry.key}>{entry.name}: {entry.state}</li>)}</ul>
    </section>
  );
}
