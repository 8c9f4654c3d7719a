/**
 * A page in TypeScript, as its author's compiler sees the published types. Compiled by `npm run types`, never run.
 */
import incoming, { UploadError, Uploader, set_server_hostname, forget, recall, unfinished, type Options, type Unfinished, type UploaderObject } from 'incoming-js';

set_server_hostname('up.example:4000');

async function token(): Promise<string> {
  return 'secret';
}

export async function upload(ticket: string, file: File, signal: AbortSignal): Promise<UploaderObject> {
  const options: Options = {
    hostname: 'https://up.example',
    chunk_size: 1024 * 1024,
    send_ahead: 2,
    headers: async () => ({ Authorization: `Bearer ${await token()}` }),
    signal,
    digest: true,
  };
  const uploader = new Uploader(ticket, file, options);
  const other: UploaderObject = incoming.Uploader(ticket, file, { headers: { Authorization: 'x' } });
  other.onprogress = null;
  uploader.onprogress = (u) => {
    const rate: number | null = u.bytes_per_s;
    const left: number | null = u.eta_s;
    console.log(u.frac_complete, u.bytes_acked, rate, left, u.state_msg);
  };
  uploader.addEventListener('finished', () => console.log(uploader.filename));
  uploader.start().pause('toggle').cancel('enough');
  try {
    return await uploader.done;
  } catch (error) {
    if (error instanceof UploadError) console.log(error.code, error.error_code);
    throw error;
  }
}

export async function go_on(file: File, handle: FileSystemFileHandle): Promise<UploaderObject> {
  const known: Unfinished | null = await recall(file);
  if (known) return new Uploader(known.upload_id, file, { hostname: known.hostname, handle, remember: true }).start();
  for (const { name, size, bytes_acked, when, active, resume } of await unfinished()) {
    console.log(name, bytes_acked / size, new Date(when), active);
    if (resume) return await resume({ digest: true });
  }
  await forget(file.name);
  await incoming.forget();
  const uploader = new Uploader(await token(), file).start();
  const wait: number | null = uploader.retry_in_s;
  console.log(wait);
  return uploader;
}

// @ts-expect-error there is no such option
new Uploader('ticket', new File([], 'a'), { chunksize: 1 });
// @ts-expect-error nor such a way to pause
new Uploader('ticket', new File([], 'a')).pause('stop');
// @ts-expect-error headers are texts
new Uploader('ticket', new File([], 'a'), { headers: () => 7 });
