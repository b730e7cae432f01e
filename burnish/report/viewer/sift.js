// Which problems are listed: filters over the index, how many each choice would leave, the order, and the address.

const VERDICTS = ["right", "partly", "wrong", "ungraded"];
const OUTCOMES = ["gained", "lost", "both right", "neither", "not in both"];
const SIGNS = { right: "✓", partly: "◐", wrong: "✗", ungraded: "?" };
const ORDERS = {
  file: "in file order", best: "best score first", worst: "worst score first", long: "longest reply first", short: "shortest reply first",
  up: "largest gain first", down: "largest loss first",
};
const FIELDS = ["task", "category", "step", "outcome", "verdict", "rule", "flag"];

const verdictOf = (score) => (score === null ? 3 : score === 1 ? 0 : score > 0 ? 1 : 2);

/** What became of a problem from the first side to the second; a problem is right from 1, and gained by any higher score. */
function outcomeOf(data, p) {
  const [a, b] = [data.scores[0][p], data.scores[1][p]];
  if (a === null || b === null) return 4;
  if (Math.abs(b - a) > 1e-9) return b > a ? 0 : 1;
  return a === 1 ? 2 : 3;
}

/** The names that each field's choices have, in the order they are offered. */
function choicesOf(data) {
  return {
    task: data.tasks.map((task) => task.name), category: data.categories, step: data.steps, outcome: OUTCOMES, verdict: VERDICTS,
    rule: [...new Set(data.rule_sets.flat())], flag: [...new Set(data.flag_sets.flat())],
  };
}

/** Sets of names as sets of numbers, with an empty one where a set is empty. */
const numbered = (sets, names) => sets.map((set) => set.map((name) => names.indexOf(name)));

/**
 * The problems that fit a state. Returns their numbers, how many replies fit, and for each field how many problems (task,
 * category, step, outcome) or replies (verdict, rule, flag) each choice would leave if the other fields stay.
 */
function sifted(data, state, hits) {
  const names = data.choices;
  const wanted = Object.fromEntries(FIELDS.map((field) => [field, state[field] ? names[field].indexOf(state[field]) : -1]));
  const counts = Object.fromEntries(FIELDS.map((field) => [field, new Uint32Array(names[field].length)]));
  const problems = [];
  let replies = 0;
  const of = { task: data.problems.task, category: data.problems.category, step: data.problems.step, outcome: data.outcomes };
  const whole = ["task", "category", "step", "outcome"].filter((field) => of[field]);
  const asked = Object.fromEntries(FIELDS.map((field) => [field, state[field] !== ""]));
  for (let p = 0; p < data.count; p++) {
    if (hits && !hits[p]) continue;
    let missed = 0, which = "";
    for (const field of whole) {
      if (asked[field] && of[field][p] !== wanted[field]) { missed++; which = field; }
    }
    if (missed > 1) continue;
    let fitting = 0;
    for (let r = data.first[p]; r < data.first[p + 1]; r++) {
      const verdict = verdictOf(data.replies.score[r]), rules = data.rules[data.replies.rules[r]], flags = data.flags[data.replies.flags[r]];
      const noVerdict = asked.verdict && verdict !== wanted.verdict, noRule = asked.rule && !rules.includes(wanted.rule), noFlag = asked.flag && !flags.includes(wanted.flag);
      const misses = noVerdict + noRule + noFlag;
      if (misses === 0) fitting++;
      if (missed || misses > 1) continue;
      if (misses === 0 || noVerdict) counts.verdict[verdict]++;
      if (misses === 0 || noRule) for (const rule of rules) counts.rule[rule]++;
      if (misses === 0 || noFlag) for (const flag of flags) counts.flag[flag]++;
    }
    if (!fitting) continue;
    for (const field of whole) if (!missed || which === field) counts[field][of[field][p]]++;
    if (missed) continue;
    problems.push(p);
    replies += fitting;
  }
  return { problems: ordered(data, problems, state.sort), replies, counts };
}

/** The first reply of a problem that fits the state's verdict, rule and flag. */
function fittingReply(data, p, state) {
  for (let r = data.first[p]; r < data.first[p + 1]; r++) {
    const has = (sets, field) => !state[field] || data[sets][data.replies[sets][r]].includes(data.choices[field].indexOf(state[field]));
    if ((!state.verdict || VERDICTS[verdictOf(data.replies.score[r])] === state.verdict) && has("rules", "rule") && has("flags", "flag")) return r;
  }
  return data.first[p];
}

function ordered(data, problems, order) {
  const last = data.scores[data.scores.length - 1];
  const tokens = (p) => { let most = 0; for (let r = data.first[p]; r < data.first[p + 1]; r++) most = Math.max(most, data.replies.tokens[r]); return most; };
  const change = (p) => (data.outcomes && data.outcomes[p] !== 4 ? data.scores[1][p] - data.scores[0][p] : null);
  const keys = { best: (p) => last[p], worst: (p) => last[p], long: tokens, short: tokens, up: change, down: change };
  if (!keys[order]) return problems;
  const down = order === "best" || order === "long" || order === "up" ? -1 : 1;
  const key = new Map(problems.map((p) => [p, keys[order](p)]));
  // What has no score stands last in either direction; equals keep the file's order.
  return problems.sort((p, q) => {
    const [a, b] = [key.get(p), key.get(q)];
    if (a === null || b === null) return (a === null) - (b === null) || p - q;
    return down * (a - b) || p - q;
  });
}

const EMPTY = { task: "", category: "", step: "", outcome: "", verdict: "", rule: "", flag: "", find: "", sort: "file", page: 1, open: "", reply: "" };

/** The state that an address names; what the page does not know is passed over. */
function stateOf(hash, choices) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { ...EMPTY };
  for (const field of FIELDS) if (choices[field].includes(given.get(field))) state[field] = given.get(field);
  if (Object.hasOwn(ORDERS, given.get("sort") || "")) state.sort = given.get("sort");
  state.page = Math.max(1, Math.floor(Number(given.get("page"))) || 1);
  for (const field of ["find", "open", "reply"]) state[field] = given.get(field) || "";
  return state;
}

/** The address of a state: only what differs from the page as it opens. */
function hashOf(state) {
  const given = new URLSearchParams();
  for (const [field, value] of Object.entries(state)) if (value !== EMPTY[field]) given.set(field, value);
  return `#${given}`;
}
