// The same form in Vue 3. Templates need `compilerOptions.isCustomElement`; render functions do not.
import { createSSRApp, h } from 'vue';

export const create = (server) => createSSRApp({
  data: () => ({ finished: 0 }),
  render() {
    return h('main', [
      h('form', { method: 'post', action: '/posted' }, [
        h('label', { for: 'up' }, 'Papers'),
        h('incoming-upload', { id: 'up', name: 'files', 'ticket-url': '/ticket', hostname: server, multiple: true, 'onIncoming-finish': () => (this.finished += 1) }, [h('input', { type: 'file', name: 'files_plain' })]),
        h('button', { id: 'send' }, 'Send'),
      ]),
      h('output', String(this.finished)),
    ]);
  },
});
