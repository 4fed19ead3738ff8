// The page asks for the list again and again, and shows what it hears: there is no other state to get out of
// step. What the user does is shown at once, kept in a queue, and sent in order until the server takes it;
// every request may be sent twice (ids are chosen here), so nothing is lost or doubled when the database moves.
'use strict';

const $ = id => document.getElementById(id);
const shown = 200;            // to-dos on the page; the newest ones
const every = 500;            // ms between two looks
const late = 1000;            // ms without an answer before the banner appears
const columns = 80;           // bars of the pulse

const filters = {'#all': '', '#active': '&completed=false', '#done': '&completed=true'};
let todos = [];               // as the server last listed them
let total = 0, completed = 0;
let queue = [];               // what the user did and the server has not taken: {id, method, path, body}
let taken = 0;                // how many of them the server has taken
let editing = null;           // id of the to-do in the editor
let node = '';                // where the database last answered from
let lastAnswer = performance.now();
let troubleSince = 0;         // 0: all is well

const filter = () => filters[location.hash] === undefined ? '#all' : location.hash;

// newID works without a secure context too, where crypto.randomUUID is missing.
function newID() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('');
}

async function ask(method, path, body) {
  const asked = performance.now();
  const answer = await fetch(path, {
    method, headers: {'Accept': 'application/json', 'Content-Type': 'application/json'},
    body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(30000),
  });
  const text = await answer.text();
  if (answer.status >= 500) throw new Error(answer.status + ' ' + text);
  heard(answer, performance.now() - asked);
  return {ok: answer.ok, status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : null};
}

// heard notes who answered, and shows a move of the database with the pause that this page saw.
function heard(answer, took) {
  const now = performance.now(), from = node;
  node = answer.headers.get('Todo-Node') || node;
  if (from && node !== from) showMove(from, node, now - lastAnswer);
  $('node').textContent = node || 'unknown';
  const web = answer.headers.get('Todo-Web-Node');
  $('web').textContent = web ? ', page from ' + web : '';
  paint(document.querySelector('.dot'), node);
  addBar(took);
  lastAnswer = now;
  trouble(false);
}

// The same node always has the same colour, and names that differ in one digit have very different ones.
function paint(element, name) {
  let hash = 7;
  for (const c of name) hash = (hash * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty('--node', `hsl(${hash * 137 % 360} 55% 48%)`);
}

function showMove(from, to, pause) {
  const li = document.createElement('li');
  const seconds = pause < 1000 ? Math.round(pause) + ' ms' : (pause / 1000).toFixed(1) + ' s';
  li.textContent = `${new Date().toLocaleTimeString()}: the database moved from ${from} to ${to}; ` +
    `this page was without an answer for ${seconds}.`;
  $('moves').prepend(li);
  while ($('moves').children.length > 5) $('moves').lastChild.remove();
}

function addBar(took) {
  const bar = document.createElement('i');
  bar.style.height = Math.min(44, 3 + 12 * Math.log10(Math.max(1, took))) + 'px';
  bar.title = `${Math.round(took)} ms from ${node}`;
  paint(bar, node);
  $('bars').append(bar);
  $('bars').firstChild.remove();
  $('pulse-text').textContent = `Last answer of the database: ${Math.round(took)} ms`;
}

function trouble(is) {
  if (!is) troubleSince = 0;
  else troubleSince ||= lastAnswer;
  document.body.classList.toggle('waiting', is);
  $('banner').hidden = !is;
  if (!is) return;
  const seconds = Math.round((performance.now() - troubleSince) / 1000);
  const kept = queue.length ? ` ${queue.length} of your changes wait here.` : '';
  $('banner').textContent = `Connection lost, retrying for ${seconds} s.` + kept;
}

const sleep = ms => new Promise(done => setTimeout(done, ms));

// look keeps one request under way at a time.
let wake = () => {};
async function look() {
  for (;;) {
    const asked = filter(), before = taken;
    try {
      const answer = await ask('GET', '/?last=' + shown + filters[asked]);
      // A list from before our last change would show the old value for a moment.
      if (answer.ok && asked === filter() && before === taken) {
        todos = answer.body;
        total = +answer.headers.get('Todo-Total');
        completed = +answer.headers.get('Todo-Completed');
        render();
      }
    } catch { trouble(true); }
    await Promise.race([sleep(every), new Promise(done => wake = done)]);
  }
}

// send empties the queue in order.
let sending = false;
async function send() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    const next = queue[0];
    try {
      const answer = await ask(next.method, next.path, next.body);
      if (!answer.ok && answer.status !== 404) alert('The change was refused: ' + answer.body.error);
      apply(next);
      queue.shift();
      taken++;
    } catch { trouble(true); await sleep(every); }
  }
  sending = false;
  render();
  wake();
}

function act(action) {
  queue.push(action);
  render();
  send();
}

// apply does to our copy of the list what the server has done, or will do.
function applyTo(list, action) {
  switch (action.method) {
  case 'POST': return list.some(t => t.id === action.id) ? list : [...list, {completed: false, ...action.body}];
  case 'PATCH': return list.map(t => t.id === action.id ? {...t, ...action.body} : t);
  case 'DELETE': return list.filter(t => action.id ? t.id !== action.id : !t.completed);
  }
}
function apply(action) { todos = applyTo(todos, action); }

function visible() {
  const list = queue.reduce(applyTo, todos);
  const want = {'#active': t => !t.completed, '#done': t => t.completed}[filter()];
  return want ? list.filter(want) : list;
}

// render changes only what differs, so that a field that is being edited keeps its focus.
function render() {
  const list = visible(), pending = new Set(queue.map(a => a.id));
  const rows = new Map(Array.from($('list').children, li => [li.dataset.id, li]));
  const atEnd = $('list').scrollHeight - $('list').scrollTop - $('list').clientHeight < 60;
  let before = $('list').firstElementChild;
  for (const t of list) {
    const li = rows.get(t.id) || newRow(t.id);
    rows.delete(t.id);
    fill(li, t, pending.has(t.id));
    if (li === before) before = before.nextElementSibling;
    else $('list').insertBefore(li, before);
  }
  for (const li of rows.values()) if (li.dataset.id !== editing) li.remove();
  if (atEnd) $('list').scrollTop = $('list').scrollHeight;
  renderCounts(list.length);
}

function renderCounts(n) {
  const added = queue.filter(a => a.method === 'POST' && !todos.some(t => t.id === a.id)).length;
  const left = total - completed + added, all = total + added;
  const matching = {'#all': all, '#active': left, '#done': completed}[filter()];
  $('count').textContent = `${left.toLocaleString()} left of ${all.toLocaleString()}`;
  $('older').hidden = matching <= shown || n < shown;
  $('older').textContent = `${(matching - n).toLocaleString()} older ones are not shown`;
  $('empty').hidden = n > 0 || !node;
  $('clear').hidden = !completed;
  for (const a of document.querySelectorAll('nav a')) a.classList.toggle('here', a.hash === filter());
}

function newRow(id) {
  const li = $('row').content.firstElementChild.cloneNode(true);
  li.dataset.id = id;
  const find = name => li.querySelector('.' + name);
  find('toggle').onchange = e => act({id, method: 'PATCH', path: '/' + id, body: {completed: e.target.checked}});
  find('remove').onclick = () => act({id, method: 'DELETE', path: '/' + id});
  find('edit').onclick = () => edit(li);
  find('title').ondblclick = () => edit(li);
  return li;
}

function fill(li, t, pending) {
  li.classList.toggle('done', t.completed);
  li.classList.toggle('pending', pending);
  li.querySelector('.toggle').checked = t.completed;
  li.querySelector('.toggle').setAttribute('aria-label', 'Done: ' + t.title);
  const title = li.querySelector('.title');
  if (editing !== t.id && title.textContent !== t.title) title.textContent = t.title;
}

function edit(li) {
  if (editing) return;
  const id = editing = li.dataset.id, title = li.querySelector('.title'), was = title.textContent;
  const field = document.createElement('input');
  field.value = was;
  field.maxLength = 1000;
  field.setAttribute('aria-label', 'Title');
  const finish = keep => {
    if (editing !== id) return;
    editing = null;
    const now = field.value.trim();
    title.textContent = was;
    if (keep && !now) act({id, method: 'DELETE', path: '/' + id});
    else if (keep && now !== was) act({id, method: 'PATCH', path: '/' + id, body: {title: now}});
    else render();
  };
  field.onkeydown = e => { if (e.key === 'Enter') finish(true); if (e.key === 'Escape') finish(false); };
  field.onblur = () => finish(true);
  title.replaceChildren(field);
  field.focus();
  field.select();
}

$('add').onsubmit = e => {
  e.preventDefault();
  const title = $('title').value.trim();
  if (!title) return;
  $('title').value = '';
  const id = newID();
  act({id, method: 'POST', path: '/', body: {id, title}});
  $('list').scrollTop = $('list').scrollHeight;
};
$('clear').onclick = () => act({method: 'DELETE', path: '/?completed=true'});
window.onhashchange = () => { todos = []; render(); wake(); };
setInterval(() => { if (performance.now() - lastAnswer > late) trouble(true); }, 250);

$('bars').append(...Array.from({length: columns}, () => {
  const bar = document.createElement('i');
  bar.className = 'none';
  return bar;
}));
render();
look();
