"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const CANDIDATE = "candidate";
  const choice = {
    metric: at("metric"), comparison: at("comparison"), category: at("category"), order: at("order"),
  };
  let shown = [];
  let current = 0;

  const fill = (select, options) => {
    for (const [value, label] of options) {
      const option = make("option", label);
      option.value = value;
      select.append(option);
    }
    select.parentElement.hidden = options.length < 2;
  };
  fill(choice.metric, data.metrics.map((m) => [m.name, m.label]));
  fill(choice.comparison, data.comparisons.map((c) => [c.name, c.label]));
  choice.comparison.value = data.opens;
  const categories = [...new Set(data.pairs.map((pair) => pair.category))].filter(Boolean).sort();
  // "*" cannot be mistaken for a category: categories are chosen by their place in the list.
  fill(choice.category, [["*", "all"], ...categories.map((c, i) => [String(i), c])]);
  choice.category.parentElement.hidden = categories.length < 2;

  const metric = () => data.metrics.find((m) => m.name === choice.metric.value);
  const outcome = (pair) => pair.outcomes[choice.comparison.value]?.[choice.metric.value] ?? null;
  const value = (pair, role) => pair.values[role]?.[choice.metric.value] ?? null;
  // How far the candidate is ahead; a failed image is as far behind as can be.
  const ahead = (pair) => {
    if (outcome(pair) === null) return null;
    const a = value(pair, CANDIDATE);
    const b = value(pair, choice.comparison.value);
    if (a !== null && b !== null) return metric().sign * (a - b);
    return { win: Infinity, tie: 0, loss: -Infinity }[word(pair)];
  };
  const number = (x) => {
    if (x === null) return "no score";
    const size = Math.abs(x);
    const text = size !== 0 && size < 0.001 ? x.toExponential(1) : x.toFixed(size < 10 ? 3 : size < 100 ? 2 : 1);
    return text.replace("-", "−");
  };
  const word = (pair) => data.outcomes[outcome(pair)] ?? "left out";

  const picture = (pair, role) => {
    const source = pair.images[role];
    if (!source) {
      const failed = pair.failed[role];
      return make("div", failed ? `failed: ${failed}` : "no picture", "none");
    }
    const image = make("img");
    image.alt = "";
    image.addEventListener("load", () => {
      image.style.setProperty("--aspect", `${image.naturalWidth} / ${image.naturalHeight}`);
      if (image.naturalWidth <= 128) image.classList.add("pixels");
    });
    image.src = source;
    return image;
  };

  // Of one comparison, pairs may be with different runs.
  const nameOf = (pair, run) => pair.names[run.role] ?? run.name;

  const sentence = (pair) => {
    const a = value(pair, CANDIDATE);
    const b = value(pair, choice.comparison.value);
    const names = Object.fromEntries(data.runs.map((run) => [run.role, nameOf(pair, run)]));
    const which = data.comparisons.find((c) => c.name === choice.comparison.value).label;
    const text = `${metric().label}, ${which}: `;
    if (outcome(pair) === null) return `${text}no score on one side, the pair is left out.`;
    const values = a !== null && b !== null ? ` (${number(a)} against ${number(b)})` : " (a picture failed)";
    if (word(pair) === "tie") return `${text}tie${values}.`;
    return `${text}${names[word(pair) === "win" ? CANDIDATE : choice.comparison.value]} is better${values}.`;
  };

  const draw = () => {
    const pair = shown[current];
    at("position").textContent = shown.length ? `${current + 1} of ${shown.length}` : "none of this kind";
    at("prompt").textContent = pair ? pair.prompt : "";
    at("facts").textContent = pair ? [pair.category, `seed ${pair.seed}`].filter(Boolean).join(", ") : "";
    at("result").textContent = pair ? sentence(pair) : "";
    const sides = data.runs.filter(
      (run) => at("every").checked || [choice.comparison.value, CANDIDATE].includes(run.role),
    );
    at("pictures").replaceChildren(...(pair ? sides : []).map((run) => {
      const figure = make("figure");
      const caption = make("figcaption");
      const setting = data.comparisons.find((c) => c.name === run.role);
      caption.append(
        make("b", nameOf(pair, run)),
        `${setting ? `baseline, ${setting.label}` : "candidate"} · NFE ${run.nfe}`,
        make("br"), `${metric().label} ${number(value(pair, run.role))}`,
      );
      const shownPicture = picture(pair, run.role);
      if (shownPicture.tagName === "IMG") shownPicture.alt = `${nameOf(pair, run)}: ${pair.prompt.slice(0, 200)}`;
      figure.append(shownPicture, caption);
      return figure;
    }));
    [...at("strip").children].forEach((button, i) => button.setAttribute("aria-current", String(i === current)));
  };

  const list = () => {
    const wanted = choice.category.value;
    const kept = data.pairs.filter((pair) => wanted === "*" || pair.category === categories[Number(wanted)]);
    const key = {
      wins: (pair) => -ahead(pair), losses: ahead, close: (pair) => Math.abs(ahead(pair)), prompt: () => 0,
    }[choice.order.value];
    const byPrompt = (p, q) => p.prompt.localeCompare(q.prompt) || p.seed - q.seed;
    shown = kept.sort((p, q) => {
      const undefinedLast = (outcome(p) === null) - (outcome(q) === null);
      if (undefinedLast || outcome(p) === null) return undefinedLast || byPrompt(p, q);
      const a = key(p);
      const b = key(q);
      return a < b ? -1 : a > b ? 1 : byPrompt(p, q);
    });
    current = 0;
    at("strip").replaceChildren(...shown.map((pair, i) => {
      const button = make("button");
      button.type = "button";
      button.title = pair.prompt.slice(0, 200);
      button.setAttribute("aria-label", `pair ${i + 1}, ${word(pair)}`);
      button.append(picture(pair, CANDIDATE), make("span", word(pair)));
      button.addEventListener("click", () => { current = i; draw(); });
      return button;
    }));
    draw();
  };

  const go = (to) => {
    if (!shown.length) return;
    current = (to + shown.length) % shown.length;
    draw();
  };
  for (const select of Object.values(choice)) select.addEventListener("change", list);
  at("every").addEventListener("change", draw);
  at("every").parentElement.hidden = data.comparisons.length < 2;
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("previous").addEventListener("click", () => go(current - 1));
  at("next").addEventListener("click", () => go(current + 1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("select, .scroll, summary")) return;
    // Home and End scroll the page, unless the viewer has the focus.
    const inside = event.target.closest("#viewer");
    if (event.key === "ArrowRight") go(current + 1);
    else if (event.key === "ArrowLeft") go(current - 1);
    else if (event.key === "Home" && inside) go(0);
    else if (event.key === "End" && inside) go(shown.length - 1);
    else return;
    event.preventDefault();
  });
  at("shown").textContent = data.pairs.length < data.total
    ? `${data.pairs.length} of ${data.total.toLocaleString("en")} pairs, chosen for the largest wins and losses on every metric: they show what differs, not what is typical. The others are in compare/pairs.parquet, with their pictures in the runs. Arrow keys move.`
    : `All ${data.total} pairs. Arrow keys move.`;
  list();
})();
