// The list with its filters, the keys, and the address; the page's start.

const ROWS = 50; // problems listed at a time

async function start() {
  if (typeof DecompressionStream === "undefined") {
    node("count").textContent = "This browser cannot unpack the replies; the tables above are complete. Any browser of 2023 or later can.";
    return;
  }
  const index = JSON.parse(await unpacked(node("index")));
  const data = ready(index);
  if (data.sides.length > 1) data.outcomes = Uint8Array.from({ length: data.count }, (_, p) => outcomeOf(data, p));
  data.choices = choicesOf(data);
  data.rules = numbered(data.rule_sets, data.choices.rule);
  data.flags = numbered(data.flag_sets, data.choices.flag);
  data.names = new Map(data.problems.id.map((id, p) => [`${data.tasks[data.problems.task[p]].name}/${id}`, p]));
  new Viewer(data).begin();
}

class Viewer {
  constructor(data) {
    this.data = data;
    this.state = stateOf(location.hash, data.choices);
    this.hits = null; // which problems have the words looked for; null: all
    this.looking = 0;
    this.found = { problems: [], replies: 0, counts: {} };
    this.words = false;
    this.drawn = 0;
  }

  begin() {
    this.controls();
    window.addEventListener("hashchange", () => this.follow(stateOf(location.hash, this.data.choices)));
    document.addEventListener("keydown", (event) => this.key(event));
    this.tally();
    this.look();
    this.sift();
    this.show();
    document.body.dataset.ready = "yes";
  }

  /** Put what the person chose into the address, and draw it. */
  go(change) {
    const state = { ...this.state, ...change };
    history.replaceState(null, "", hashOf(state));
    this.follow(state);
  }

  /** Draw what a new address asks for. */
  follow(state) {
    const before = this.state;
    this.state = state;
    const filters = ["find", "sort", ...FIELDS].some((field) => before[field] !== state[field]);
    if (before.find !== state.find) this.look();
    if (filters) this.sift();
    else if (before.page !== state.page) this.list();
    if (before.open !== state.open || before.reply !== state.reply) this.show();
    else this.mark();
  }

  controls() {
    for (const field of FIELDS) {
      const select = node(field);
      if (!select) continue;
      if (!this.data.choices[field].some((name) => name !== "")) select.closest("label").hidden = true;
      select.addEventListener("change", () => this.go({ [field]: select.value, page: 1 }));
    }
    node("sort").replaceChildren(...Object.entries(ORDERS).filter(([name]) => this.data.outcomes || (name !== "up" && name !== "down")).map(([value, text]) => make("option", { value, text })));
    node("sort").addEventListener("change", () => this.go({ sort: node("sort").value, page: 1 }));
    let wait = 0;
    node("find").addEventListener("input", () => {
      clearTimeout(wait);
      wait = setTimeout(() => this.go({ find: node("find").value, page: 1 }), 250);
    });
    node("clear").addEventListener("click", () => this.go({ ...EMPTY, open: this.state.open, reply: this.state.reply }));
    node("back").addEventListener("click", () => this.go({ open: "", reply: "" }));
    node("previous").addEventListener("click", () => this.turn(-1));
    node("next").addEventListener("click", () => this.turn(1));
  }

  /** The counts in the table of a comparison: how many problems were gained and lost, each a link to them. */
  tally() {
    if (!this.data.outcomes) return;
    for (const cell of document.querySelectorAll("[data-moved]")) {
      const task = this.data.choices.task.indexOf(cell.dataset.moved), counts = [0, 0, 0, 0, 0];
      for (let p = 0; p < this.data.count; p++) if (this.data.problems.task[p] === task) counts[this.data.outcomes[p]]++;
      const link = (outcome) => make("a", { href: hashOf({ ...EMPTY, task: cell.dataset.moved, outcome: OUTCOMES[outcome] }), text: `${counts[outcome].toLocaleString("en")} ${OUTCOMES[outcome]}` });
      cell.replaceChildren(...[0, 1, 2, 3, 4].filter((outcome) => outcome < 4 || counts[outcome]).flatMap((outcome, i) => (i ? [" · ", link(outcome)] : [link(outcome)])));
    }
  }

  /** Look for words in the texts; the list follows as parts are done. */
  look() {
    const turn = ++this.looking, words = this.state.find.trim();
    this.hits = words ? new Uint8Array(this.data.count) : null;
    node("progress").textContent = words ? "looking through the texts" : "";
    if (!words) return;
    searchTexts(this.data, words, () => turn !== this.looking, (hits, share) => {
      if (turn !== this.looking) return;
      this.hits = hits;
      node("progress").textContent = share < 1 ? `looking through the texts: ${Math.floor(100 * share)} %` : "";
      this.sift();
    });
  }

  sift() {
    this.found = sifted(this.data, this.state, this.hits);
    const { problems, replies, counts } = this.found, all = this.data.count;
    for (const field of FIELDS) this.options(field, counts[field]);
    node("sort").value = this.state.sort;
    if (document.activeElement !== node("find")) node("find").value = this.state.find;
    const number = (n) => n.toLocaleString("en");
    node("count").textContent = `${number(problems.length)} ${problems.length < all ? `of ${number(all)} ` : ""}${all === 1 ? "problem" : "problems"}` + (replies !== problems.length ? `, ${number(replies)} replies` : "");
    node("clear").hidden = ["find", ...FIELDS].every((field) => !this.state[field]);
    this.list();
  }

  /** A field's choices with how many each would leave; those that would leave none are not offered. */
  options(field, counts) {
    const select = node(field);
    if (!select) return;
    const names = this.data.choices[field], chosen = this.state[field];
    const order = [...names.keys()].filter((i) => names[i] !== "" && (counts[i] || names[i] === chosen));
    if (field === "rule") order.sort((a, b) => counts[b] - counts[a]);
    select.replaceChildren(make("option", { value: "", text: "all" }), ...order.map((i) => make("option", { value: names[i], text: `${oneLine(names[i])} (${counts[i].toLocaleString("en")})` })));
    select.value = chosen;
  }

  pages() { return Math.max(1, Math.ceil(this.found.problems.length / ROWS)); }

  list() {
    const page = Math.min(this.state.page, this.pages()), from = (page - 1) * ROWS;
    const rows = this.found.problems.slice(from, from + ROWS);
    node("rows").replaceChildren(...rows.map((p) => this.row(p)));
    node("page").textContent = `page ${page.toLocaleString("en")} of ${this.pages().toLocaleString("en")}`;
    node("previous").disabled = page <= 1;
    node("next").disabled = page >= this.pages();
    node("pager").hidden = this.pages() === 1;
    node("nothing").hidden = rows.length > 0;
    this.mark();
    this.fill(rows);
  }

  /** A row without its texts, which come when their part is decoded. */
  row(p) {
    const { data } = this, name = this.nameOf(p);
    const signs = data.sides.map((_, side) => {
      const scores = graded(data, p, side), verdict = VERDICTS[verdictOf(data.scores[side][p])];
      const text = scores.length > 1 ? `${scores.filter((score) => score === 1).length}/${scores.length}` : SIGNS[verdict];
      return make("span", { class: `sign ${verdict}${scores.length > 1 ? " of" : ""}`, title: verdict, "aria-label": verdict, role: "img", text });
    });
    const reply = fittingReply(data, p, this.state);
    const link = make("a", { href: hashOf({ ...this.state, open: name, reply: reply === data.first[p] ? "" : String(reply - data.first[p]) }), "data-p": p },
      make("span", { class: "signs" }, ...signs), make("span", { class: "words" }, make("bdi", { class: "asked", text: " " }), make("bdi", { class: "soft reason", text: " " })));
    return make("li", {}, link);
  }

  async fill(rows) {
    const turn = ++this.drawn;
    await Promise.all(rows.map(async (p) => {
      const texts = await textsOf(this.data, p);
      if (turn !== this.drawn) return;
      const link = node("rows").querySelector(`[data-p="${p}"]`);
      const asked = texts.prompt.length ? texts.prompt[texts.prompt.length - 1][1] : "";
      const shared = this.data.shared.get(`${this.data.problems.task[p]} ${this.data.problems.category[p]}`) || 0;
      const own = shared < asked.length ? asked.slice(shared) : asked.slice(-160);
      link.querySelector(".asked").textContent = oneLine((own.length < asked.length ? "…" : "") + own.slice(0, 300)) || " ";
      link.querySelector(".reason").textContent = oneLine(texts.replies[fittingReply(this.data, p, this.state) - this.data.first[p]].why.slice(0, 300)) || " ";
    }));
  }

  nameOf(p) { return `${this.data.tasks[this.data.problems.task[p]].name}/${this.data.problems.id[p]}`; }

  mark() {
    const open = this.data.names.get(this.state.open);
    for (const link of node("rows").querySelectorAll("a")) {
      if (Number(link.dataset.p) === open) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    document.body.classList.toggle("open", open !== undefined);
  }

  /** Show the problem that the address names. */
  async show() {
    this.mark();
    const { data } = this, p = data.names.get(this.state.open);
    node("hint").hidden = p !== undefined;
    if (p === undefined) { node("detail").replaceChildren(); return; }
    const wanted = this.state.open, texts = await textsOf(data, p);
    if (wanted !== this.state.open) return;
    const chosen = data.first[p] + (Number(this.state.reply) || 0), side = data.replies.side[chosen] ?? 0;
    const shown = data.sides.map((_, s) => (s === side && chosen < data.first[p + 1] ? chosen : this.beside && this.beside.p === p ? this.beside.shown[s] : -1));
    this.beside = { p, shown };
    node("detail").replaceChildren(...problemOf(data, p, texts, {
      shown, words: this.words,
      choose: (_, r) => this.go({ reply: String(r - data.first[p]) }),
      toggle: (event) => { this.words = event.target.checked; this.show(); },
    }).filter((part) => part !== ""));
    for (const pre of node("detail").querySelectorAll("pre")) if (pre.getAttribute("aria-label").startsWith("prompt")) pre.scrollTop = pre.scrollHeight;
    for (const mark of node("detail").querySelectorAll("pre mark")) {
      const pre = mark.closest("pre");
      pre.scrollTop = Math.max(0, mark.offsetTop - pre.offsetTop - pre.clientHeight / 2);
    }
    node("pane").scrollTop = 0;
    if (matchMedia("(max-width: 860px)").matches) node("pane").scrollIntoView();
  }

  turn(by) {
    this.go({ page: Math.min(this.pages(), Math.max(1, this.state.page + by)) });
    node("samples").scrollIntoView();
  }

  /** Open the problem `by` rows further; over the list's edge the page turns. */
  step(by) {
    const { problems } = this.found;
    if (!problems.length) return;
    const at = problems.indexOf(this.data.names.get(this.state.open));
    const to = at < 0 ? (Math.min(this.state.page, this.pages()) - 1) * ROWS : Math.min(problems.length - 1, Math.max(0, at + by));
    const p = problems[to], reply = fittingReply(this.data, p, this.state) - this.data.first[p];
    this.go({ open: this.nameOf(p), reply: reply ? String(reply) : "", page: Math.floor(to / ROWS) + 1 });
    requestAnimationFrame(() => { const row = node("rows").querySelector("[aria-current]"); if (row) row.scrollIntoView({ block: "nearest" }); });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest && event.target.closest("input[type=search], select, textarea");
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else this.go({ open: "", reply: "" });
    } else if (typing) return;
    else if (event.key === "j") this.step(1);
    else if (event.key === "k") this.step(-1);
    else if (event.key === "/") { event.preventDefault(); node("find").focus(); node("find").select(); }
  }
}

start().catch((error) => { node("count").textContent = `The replies in this file cannot be read (${error.message}); is the file complete?`; });
