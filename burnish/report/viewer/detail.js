// One problem: its prompt, the replies with what was extracted marked, the target, the reasons.

const LONGEST = 40000; // characters shown before a reader asks for the rest
/** The text's pieces as nodes: what cannot be seen is shown by name. */
function visible(text) {
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > at) pieces.push(text.slice(at, match.index));
    pieces.push(make("span", { class: "hidden-char", title: numberOf(match[0]), text: nameOf(match[0]) }));
    at = match.index + match[0].length;
  }
  if (at < text.length) pieces.push(text.slice(at));
  return pieces;
}

/** A block of text. spans: [start, end, class] of marked stretches, in order and apart; end: show its end first. */
function block(label, text, { spans = [], className = "", end = false, lead = "" } = {}) {
  const pre = make("pre", { class: className, tabindex: 0, dir: "auto", "aria-label": label });
  const fill = (limit) => {
    pre.replaceChildren();
    if (lead) pre.append(make("span", { class: "lead", title: "put there by the task (prefill)" }, ...visible(lead)));
    if (!text && !lead) pre.append(make("span", { class: "soft", text: "(empty)" }));
    const from = end ? Math.max(0, text.length - limit) : 0, to = end ? text.length : Math.min(text.length, limit);
    const more = text.length - (to - from);
    const rest = more ? make("button", { type: "button", text: `show ${more.toLocaleString("en")} more characters`, on: { click: () => fill(Infinity) } }) : "";
    if (end && rest) pre.append(rest, "\n");
    let at = from;
    for (const [start, stop, kind] of spans) {
      if (start < at || stop > to) continue;
      pre.append(...visible(text.slice(at, start)), make(kind === "mark" ? "mark" : "span", { class: kind === "mark" ? null : kind }, ...visible(text.slice(start, stop))));
      at = stop;
    }
    pre.append(...visible(text.slice(at, to)));
    if (!end && rest) pre.append("\n", rest);
  };
  fill(LONGEST);
  return pre;
}

const unquoted = (quoted) => {
  const named = { n: "\n", t: "\t", r: "\r" };
  return quoted.slice(1, -1).replace(/\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)/gs, (_, c) => (c.length > 1 ? String.fromCharCode(parseInt(c.slice(1), 16)) : named[c] ?? c));
};

/** What a reason may name as the extracted answer, the likeliest first. */
function extractedIn(why) {
  const said = why.split(/,? (?:wanted|against)\b/)[0];
  const quotes = [...said.matchAll(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/g)];
  const found = [];
  if (quotes.length && quotes[0].index === 0) found.push(unquoted(quotes[0][0]));
  const letter = /^([A-Z])(?= read by )/.exec(said);
  if (letter) found.push(letter[1]);
  const tail = /.*\b(?:is|holds|gives|number) (?!not\b)(.+?)(?:, by .*)?$/s.exec(said);
  if (tail) found.push(/^(['"]).*\1$/s.test(tail[1]) ? unquoted(tail[1]) : tail[1]);
  found.push(...quotes.reverse().map((quote) => unquoted(quote[0])));
  return [...new Set(found.map((text) => text.trim().replace(/^\$(.*)\$$/s, "$1")).filter(Boolean))];
}

/** [start, end] of the extracted answer in a reply: where the verdict says it is, else the last place where it stands. */
function extraction(reply) {
  if (Array.isArray(reply.span) && reply.span.length === 2) return reply.span;
  for (const text of extractedIn(reply.why)) {
    const plain = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    // A number stands as a whole, and may have commas between its digits; a letter or word stands alone.
    const number = /^[-+]?\d[\d,]*(?:\.\d+)?$/.test(text);
    const source = number ? plain.replace(/,/g, "").replace(/(\d)(?=\d)/g, "$1,?") : plain.replace(/\s+/g, "\\s+");
    const edge = /^\w/.test(text) || number ? "(?<![\\w.])" : "", close = /\w$/.test(text) ? (number ? "(?![\\w]|[.,]\\d)" : "(?!\\w)") : "";
    const places = [...reply.text.matchAll(new RegExp(edge + source + close, "g"))];
    const last = places[places.length - 1];
    if (last) return [last.index, last.index + last[0].length];
  }
  return null;
}

/** The stretches of b that are not in a, by words: from the longest common subsequence; none where the texts are too long. */
function changedSpans(a, b) {
  const words = (text) => [...text.matchAll(/\S+/g)];
  const [x, y] = [words(a), words(b)];
  if (x.length * y.length > 4e6) return null;
  const width = y.length + 1, best = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      best[i * width + j] = x[i][0] === y[j][0] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const spans = [];
  for (let i = 0, j = 0; j < y.length; ) {
    if (i < x.length && x[i][0] === y[j][0]) { i++; j++; continue; }
    if (i < x.length && best[(i + 1) * width + j] >= best[i * width + j + 1]) { i++; continue; }
    spans.push([y[j].index, y[j].index + y[j][0].length, "changed"]);
    j++;
  }
  return spans;
}

const percent = (share) => (100 * share).toFixed(1);

function badge(score) {
  const name = VERDICTS[verdictOf(score)];
  return make("span", { class: `badge ${name}` }, `${SIGNS[name]} ${name}${name === "partly" ? ` ${percent(score)} %` : ""}`);
}

/** The turns of a prompt; `shared` characters at the start of the last are the same in all prompts of the category. */
function turnsOf(turns, shared) {
  return turns.flatMap(([role, text], i) => [
    make("div", { class: "label", text: ROLES[role] ?? role }),
    block(`prompt, ${ROLES[role] ?? role}`, text, { end: text.length > 1500, spans: i === turns.length - 1 && shared ? [[0, shared, "shared"]] : [] }),
  ]);
}

/** Log-probabilities of given continuations: bars of what each has of their total probability. */
function ranking(choices, target) {
  let right = [];
  try { right = JSON.parse(target).right ?? []; } catch { right = []; }
  const most = Math.max(...choices.map((choice) => choice.logprob));
  const weights = choices.map((choice) => Math.exp(choice.logprob - most)), total = weights.reduce((sum, w) => sum + w, 0);
  const rows = choices.map((choice, i) => {
    const bar = make("span", { class: "bar-fill" }), share = weights[i] / total;
    bar.style.width = `${100 * share}%`;
    return make("tr", {},
      make("td", { dir: "auto" }, ...visible(choice.text), right.includes(i) ? make("b", { class: "good", text: " ✓ right" }) : "", choice.logprob === most ? make("b", { text: " ← likeliest" }) : ""),
      make("td", { class: "n", text: choice.logprob.toFixed(2) }), make("td", { class: "n", text: choice.tokens }),
      make("td", {}, make("span", { class: "bar-room", role: "img", "aria-label": `${percent(share)} % of their total probability` }, bar)), make("td", { class: "n", text: percent(share) }));
  });
  return make("div", { class: "scroll" }, make("table", { class: "choices" },
    make("thead", {}, make("tr", {}, ...["Continuation", "Log-prob., nats", "Tokens", "Share of the total probability", "%"].map((text, i) => make("th", { class: i === 1 || i === 2 || i === 4 ? "n" : null, scope: "col", text })))),
    make("tbody", {}, ...rows)));
}

/** One reply with its verdict. asked: the turns shown before it, for later turns of a conversation. */
function replyOf(data, r, reply, problem, { asked = [], against = null } = {}) {
  const score = data.replies.score[r], task = data.tasks[data.problems.task[problem]];
  const names = data.flags[data.replies.flags[r]].map((flag) => data.choices.flag[flag]);
  const facts = [reply.note, data.replies.tokens[r] ? `${data.replies.tokens[r].toLocaleString("en")} tokens` : "", reply.finish === "abort" ? "given up by the engine" : ""].filter(Boolean).join(" · ");
  const span = extraction(reply), changes = against === null ? null : changedSpans(against, reply.text);
  const spans = changes || (span ? [[...span, "mark"]] : []);
  const said = Object.entries(reply.flags || {}).filter(([, text]) => text);
  const before = asked.length ? turnsOf(asked, 0) : [];
  return make("div", {}, ...before, make("div", { class: `reply ${VERDICTS[verdictOf(score)]}` },
    make("div", { class: "facts" }, badge(score), ...names.map((name) => make("span", { class: "flag", text: name.replace(/_/g, " ") })), make("span", { class: "soft", text: facts })),
    make("p", { class: "why", dir: "auto" }, ...visible(reply.why)),
    ...said.map(([name, text]) => make("p", { class: "soft", text: `${name.replace(/_/g, " ")}: ${oneLine(text)}` })),
    reply.choices && reply.choices.length ? "" : make("div", { class: "label", text: "reply" }),
    reply.choices && reply.choices.length ? "" : block("reply", reply.text, { spans, lead: task.prefill }),
    against !== null && changes === null ? make("p", { class: "soft", text: "The replies are too long to compare by words." }) : ""));
}

/** The turns of a later request that stand after the earlier one and its reply. */
function later(asked, before) {
  return asked.length > before.length + 1 ? asked.slice(before.length + 1) : asked;
}

/** pass@k of a problem's right-or-wrong replies, in words; "" for a single reply or other scores. */
function chances(data, p, side) {
  const scores = graded(data, p, side), right = scores.filter((score) => score === 1).length;
  if (scores.length < 2) return "";
  if (!scores.every((score) => score === 0 || score === 1)) return `mean of ${scores.length}: ${percent(scores.reduce((a, b) => a + b) / scores.length)} %`;
  const ks = [...new Set([1, data.tasks[data.problems.task[p]].pass_at, scores.length])].filter((k) => k <= scores.length).sort((a, b) => a - b);
  return `${right} of ${scores.length} right · ` + ks.map((k) => `pass@${k} ${percent(passAt(scores.length, right, k))} %`).join(" · ");
}

/** A problem's replies of one side: a button for each sample when there are several, and the chosen one with all its turns. */
function sideOf(data, p, side, texts, shown, choose, compareWith) {
  const own = [];
  for (let r = data.first[p]; r < data.first[p + 1]; r++) if (data.replies.side[r] === side) own.push(r);
  if (!own.length) return make("div", { class: "side" }, make("p", { class: "soft", text: "no reply to this problem" }));
  const samples = [...new Set(own.map((r) => data.replies.sample[r]))];
  const sample = own.includes(shown) ? data.replies.sample[shown] : samples[0];
  const turns = own.filter((r) => data.replies.sample[r] === sample);
  const pips = samples.map((number) => {
    const replies = own.filter((r) => data.replies.sample[r] === number);
    const name = VERDICTS[Math.max(...replies.map((r) => verdictOf(data.replies.score[r])))];
    return make("button", { type: "button", class: `pip ${name}`, "aria-pressed": String(number === sample), title: `sample ${number + 1}: ${name}`, on: { click: () => choose(replies[0]) } }, `${SIGNS[name]} ${number + 1}`);
  });
  const reply = (r) => texts.replies[r - data.first[p]];
  return make("div", { class: "side" },
    data.sides.length > 1 ? make("h4", {}, make("bdi", { text: data.sides[side].label })) : "",
    samples.length > 1 ? make("div", { class: "pips", role: "group", "aria-label": "samples" }, ...pips) : "",
    samples.length > 1 ? make("p", { class: "soft", text: chances(data, p, side) }) : "",
    ...turns.map((r, i) => replyOf(data, r, reply(r), p, { asked: i ? later(reply(r).asked, reply(turns[i - 1]).asked) : [], against: compareWith ? compareWith(data.replies.turn[r]) : null })),
    reply(turns[0]).choices && reply(turns[0]).choices.length ? ranking(reply(turns[0]).choices, texts.target) : "");
}

/** All of a problem. shown: for each side the reply chosen, or -1; choose(side, reply); words: whether to mark what differs. */
function problemOf(data, p, texts, { shown, choose, words, toggle }) {
  const task = data.tasks[data.problems.task[p]].name, category = data.categories[data.problems.category[p]];
  const sides = data.sides.map((_, side) => side);
  const firstReply = (turn) => {
    for (let r = data.first[p]; r < data.first[p + 1]; r++) {
      if (data.replies.side[r] !== 0 || data.replies.turn[r] !== turn) continue;
      if (shown[0] < 0 || data.replies.sample[r] === data.replies.sample[shown[0]]) return texts.replies[r - data.first[p]].text;
    }
    return "";
  };
  const comparing = sides.length > 1;
  return [
    make("div", { class: "facts" }, make("b", { text: task }), category ? make("bdi", { text: category }) : "", make("code", { text: texts.id }), texts.key ? make("span", { class: "soft", text: `key ${texts.key}` }) : "",
      comparing ? make("b", { class: `outcome o${data.outcomes[p]}`, text: OUTCOMES[data.outcomes[p]] }) : ""),
    make("h3", { text: "Prompt" }), ...turnsOf(texts.prompt, data.shared.get(`${data.problems.task[p]} ${data.problems.category[p]}`)),
    make("h3", { text: comparing ? "Replies" : "Reply" }),
    comparing && !texts.replies.some((reply) => reply.choices) ? make("label", { class: "check" }, make("input", { type: "checkbox", id: "words", checked: words, on: { change: toggle } }), " mark the words that the second has and the first has not") : "",
    make("div", { class: comparing ? "sides two" : "sides" }, ...sides.map((side) => sideOf(data, p, side, texts, shown[side], (r) => choose(side, r), words && side === 1 ? firstReply : null))),
    texts.target ? make("h3", { text: "Target" }) : "", texts.target ? block("target", texts.target) : "",
    texts.solution ? make("details", {}, make("summary", { text: "Worked solution" }), block("worked solution", texts.solution)) : "",
  ];
}
