// The data of the page: an index in columns, decoded at once, and texts in compressed parts, decoded when they are needed.

const ROLES = ["system", "user", "assistant"];
const KEPT_PARTS = 64; // more than the rows of a page, which may all be in different parts

// Characters that change how others look or cannot be seen: controls, marks of writing direction, unusual spaces, lone surrogates.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0001}\u{e0020}-\u{e007f}]/gu;
const NAMES = { 0: "NUL", 7: "BEL", 8: "BS", 13: "CR", 27: "ESC", 127: "DEL", 0xad: "SHY", 0x200b: "ZWSP", 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM" };

const numberOf = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
const nameOf = (character) => NAMES[character.codePointAt(0)] || numberOf(character);

/** A text in which hidden characters stand by name. */
const plainly = (text) => text.replace(HIDDEN, (character) => `[${nameOf(character)}]`);

/** The same on one line. */
const oneLine = (text) => plainly(text.replace(/\s+/g, " "));

const node = (id) => document.getElementById(id);

/** An element with properties (class, text, attributes) and children; text never becomes markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = plainly(String(value));
    else if (name === "on") for (const [event, call] of Object.entries(value)) element.addEventListener(event, call);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpacked(element) {
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

const whole = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
  else done();
});

/** The index with what follows from it: where a problem's replies and part begin, and each problem's score for a side. */
function ready(index) {
  const count = index.problems.id.length;
  const first = new Uint32Array(count + 1);
  for (let p = 0; p < count; p++) first[p + 1] = first[p] + index.problems.replies[p];
  const part = new Uint32Array(count), place = new Uint32Array(count);
  let p = 0;
  index.parts.forEach((size, number) => {
    for (let i = 0; i < size; i++, p++) { part[p] = number; place[p] = i; }
  });
  const shared = new Map(index.shared.map(([task, category, length]) => [`${task} ${category}`, length]));
  const data = { ...index, count, first, part, place, shared };
  data.scores = data.sides.map((_, side) => Array.from({ length: count }, (_, p) => problemScore(data, p, side)));
  return data;
}

/** Scores of a problem's graded samples on one side; a sample of several turns counts with their mean. */
function graded(data, p, side) {
  const samples = new Map();
  for (let r = data.first[p]; r < data.first[p + 1]; r++) {
    const score = data.replies.score[r], sample = data.replies.sample[r];
    if (data.replies.side[r] !== side || score === null) continue;
    if (samples.has(sample)) samples.get(sample).push(score);
    else samples.set(sample, [score]);
  }
  return [...samples.values()].map((scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length);
}

/** The unbiased chance that one of k replies is right, of n with c right: 1 - C(n-c, k) / C(n, k) (arXiv:2107.03374). */
function passAt(n, c, k) {
  if (n - c < k) return 1;
  let none = 1;
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i;
  return 1 - none;
}

/** The mean over a problem's graded samples, or pass@k where the task counts so; null for none, or fewer than k. */
function problemScore(data, p, side) {
  const scores = graded(data, p, side), k = data.tasks[data.problems.task[p]].pass_at;
  if (scores.length < k || !scores.length) return null;
  if (k > 1) return passAt(scores.length, scores.filter((score) => score === 1).length, k);
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
}

const kept = new Map();

/** The lines of one part: JSON of a problem each. The parts used last are kept. */
async function linesOf(number) {
  if (!kept.has(number)) {
    if (!node(`part${number}`)) await whole;
    kept.set(number, unpacked(node(`part${number}`)).then((text) => text.split("\n")));
    if (kept.size > KEPT_PARTS) kept.delete(kept.keys().next().value);
  }
  return kept.get(number);
}

/** A problem's texts: id, prompt, target, solution, key, and its replies in the index's order. */
async function textsOf(data, p) {
  const lines = await linesOf(data.part[p]);
  const [id, prompt, target, solution, key, replies] = JSON.parse(lines[data.place[p]]);
  return {
    id, prompt, target, solution, key,
    replies: replies.map(([text, why, asked, finish, choices, flags, span, note]) => ({ text, why, asked: asked || prompt, finish, choices, flags, span, note })),
  };
}

/** Whether the pattern is in any text of a line of a part. */
function lineHas(line, pattern) {
  const has = (value) => (typeof value === "string" ? pattern.test(value) : value !== null && typeof value === "object" && Object.values(value).some(has));
  return has(JSON.parse(line));
}

/**
 * Look for words in all texts, part by part, without holding the page up. Calls found(problems, share done) as it goes;
 * stops when cancelled() says so.
 */
async function searchTexts(data, words, cancelled, found) {
  const plain = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const pattern = new RegExp(plain(words), "i");
  const coarse = new RegExp(plain(JSON.stringify(words).slice(1, -1)), "i");
  const hits = new Uint8Array(data.count);
  let start = 0, told = performance.now();
  await whole;
  for (let number = 0; number < data.parts.length; number++) {
    const text = await unpacked(node(`part${number}`));
    if (cancelled()) return;
    if (coarse.test(text)) {
      text.split("\n").forEach((line, i) => { if (coarse.test(line) && lineHas(line, pattern)) hits[start + i] = 1; });
    }
    start += data.parts[number];
    if (performance.now() - told > 120) {
      found(hits, (number + 1) / data.parts.length);
      await new Promise((go) => setTimeout(go));
      told = performance.now();
    }
  }
  found(hits, 1);
}
