// Every dispatch-namespace call of npm's `cloudflare`, in order; prints what each gave, as JSON.
//   node namespace.mjs MODULES MAJOR SCRIPT [account|delete]
// Base URL, token and the address that tenants are asked at (TENANTS) come from the environment.
// `account`: the calls for Workers of the account instead, their versions and deployments, and the
// removal of scripts by their tag.
import { get } from 'node:http';
import { createRequire } from 'node:module';

const [modules, major, script] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { default: Cloudflare, toFile } = require(`cloudflare-${major}`);
const client = new Cloudflare({
  apiToken: process.env.CLOUDFLARE_API_TOKEN,
  baseURL: process.env.CLOUDFLARE_API_BASE_URL,
  maxRetries: 0,
});
const account_id = 'platform';
const { namespaces } = client.workersForPlatforms.dispatch;
const { scripts } = namespaces;
const tails = client.workers.scripts.tail;

const ENTRY = `
from workers import Response, WorkerEntrypoint
from lib.words import WORD

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json({"word": WORD, "greeting": self.env.GREETING})
`;

// Signatures changed in 7: the namespace moved from the first argument into the parameters.
const moved = Number(major) >= 7;
const of = (params = {}) =>
  moved
    ? [script, { account_id, dispatch_namespace: 'production', ...params }]
    : ['production', script, { account_id, ...params }];
const ofPart = (part) =>
  moved
    ? [part, { account_id, dispatch_namespace: 'production', script_name: script }]
    : ['production', script, part, { account_id }];

async function bundle(word) {
  const file = (name, text) => toFile(Buffer.from(text), name, { type: 'text/x-python' });
  const entry = await file('entry.py', ENTRY);
  const words = await file('lib/words.py', `WORD = "${word}"`);
  // 7 sends the last step of a file's name only: the whole name has to be the key.
  return moved ? { 'entry.py': entry, 'lib/words.py': words } : [entry, words];
}

const metadata = {
  main_module: 'entry.py',
  compatibility_date: '2026-01-01',
  compatibility_flags: ['python_workers'],
  tags: ['customer-1', 'pro'],
  bindings: [
    { type: 'plain_text', name: 'GREETING', text: 'hello' },
    { type: 'secret_text', name: 'SECRET', text: 'hush' },
  ],
};

const list = async (page) => {
  const items = [];
  for await (const item of await page) items.push(item);
  return items;
};

const steps = {
  update: async () => scripts.update(...of({ metadata, files: await bundle('one') })),
  get: () => scripts.get(...of()),
  content: async () => (await scripts.content.get(...of())).text(),
  settings: () => scripts.settings.get(...of()),
  bindings: () => list(scripts.bindings.get(...of())),
  secret_update: () =>
    scripts.secrets.update(...of({ name: 'KEY', text: 'value', type: 'secret_text' })),
  secret_list: () => list(scripts.secrets.list(...of())),
  secret_get: () => scripts.secrets.get(...ofPart('KEY')),
  secret_delete: () => scripts.secrets.delete(...ofPart('KEY')),
  secret_list_after: () => list(scripts.secrets.list(...of())),
  tags_update: () => list(scripts.tags.update(...of({ body: ['p', 'q'] }))),
  tags_delete: () => scripts.tags.delete(...ofPart('p')),
  tags_list: () => list(scripts.tags.list(...of())),
  settings_edit: () =>
    scripts.settings.edit(
      ...of({ settings: { bindings: [{ type: 'plain_text', name: 'GREETING', text: 'edited' }] } }),
    ),
  content_update: async () =>
    scripts.content.update(
      ...of({ metadata: { main_module: 'entry.py' }, files: await bundle('two') }),
    ),
  tail_create: () => tails.create(script, { account_id, body: {} }),
  tail_get: () => tails.get(script, { account_id }),
  tail_delete: () =>
    moved
      ? tails.delete(results.tail_create.id, { account_id, script_name: script })
      : tails.delete(script, results.tail_create.id, { account_id }),
  namespace_create: () => namespaces.create({ account_id, name: `stage-${major}` }),
  namespace_list: () => list(namespaces.list({ account_id })),
  namespace_get: () => namespaces.get(`stage-${major}`, { account_id }),
  namespace_delete: () => namespaces.delete(`stage-${major}`, { account_id }),
  namespace_missing: () => namespaces.get(`stage-${major}`, { account_id }),
  broken: async () => {
    const files = [await toFile(Buffer.from('def f(:'), 'entry.py', { type: 'text/x-python' })];
    return scripts.update(...of({ metadata: { main_module: 'entry.py' }, files }));
  },
};
const workers = client.workers.scripts;
const ALL = '/accounts/platform/workers/dispatch/namespaces/production/scripts';

// The word that a script answers with.
const asked = (name = script) =>
  new Promise((resolve, reject) => {
    const headers = { Host: `${name}.localhost` };
    get(process.env.TENANTS, { headers }, async (answer) => {
      let text = '';
      for await (const chunk of answer) text += chunk;
      resolve(JSON.parse(text).word);
    }).on('error', reject);
  });

// 4 mixes up the fields of a version's bindings when there are several.
const alone = { ...metadata, bindings: metadata.bindings.slice(0, major === '4' ? 1 : 2) };
const uploaded = async (word) => ({ account_id, metadata: alone, files: await bundle(word) });

const deploy = (version) =>
  workers.deployments.create(script, {
    account_id,
    strategy: 'percentage',
    versions: [{ version_id: version, percentage: 100 }],
  });

const tagged = async (name) => {
  const params = { metadata: { ...metadata, tags: [script] }, files: await bundle('one') };
  const [, rest] = moved ? of(params) : ['', of(params)[2]];
  return moved ? scripts.update(name, rest) : scripts.update('production', name, rest);
};

const ids = (items) => items.map((item) => item.id);

const ofAccount = {
  update: async () => workers.update(script, await uploaded('one')),
  one: () => asked(),
  list: async () => ids(await list(workers.list({ account_id }))),
  schedules: () => workers.schedules.update(script, { account_id, body: [{ cron: '*/5 * * * *' }] }),
  subdomain: () => workers.subdomain.get(script, { account_id }),
  domain: () =>
    client.workers.domains.update({
      account_id,
      environment: 'production',
      zone_id: 'z',
      hostname: `${script}.example`,
      service: script,
    }),
  domains: async () =>
    (await list(client.workers.domains.list({ account_id }))).map((item) => item.hostname),
  domain_delete: () => client.workers.domains.delete(`${script}.example`, { account_id }),
  version_create: async () => workers.versions.create(script, await uploaded('two')),
  still_one: () => asked(),
  version_list: async () => list(workers.versions.list(script, { account_id })),
  deployment_create: () => deploy(results.version_create.id),
  two: () => asked(),
  rollback: () => deploy(results.version_list.at(-1).id),
  one_again: () => asked(),
  tagged: async () => ids([await tagged(`${script}-1`), await tagged(`${script}-2`)]),
  first: () => asked(`${script}-1`),
  bulk_delete: () => client.delete(ALL, { query: { tags: `${script}:yes` } }),
  left: async () => ids(await list(workers.list({ account_id }))).filter((id) => id.includes(script)),
  delete: () => workers.delete(script, { account_id, force: true }),
};

function instead(others) {
  for (const name of Object.keys(steps)) delete steps[name];
  Object.assign(steps, others);
}

if (process.argv[5] === 'account') instead(ofAccount);
if (process.argv[5] === 'delete') {
  instead({});
  steps.delete = () => scripts.delete(...of());
  steps.missing = () => scripts.get(...of());
}

const results = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    results[name] = (await step()) ?? null;
  } catch (error) {
    results[name] = { error: error.constructor.name, status: error.status, message: error.message };
  }
}
console.log(JSON.stringify(results));
