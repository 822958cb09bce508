"use strict";
(() => {
  // A pointer on a mark tells its figures.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  const tell = (event) => {
    const mark = event.target instanceof Element && event.target.closest("[data-told]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.told;
    const { clientX: x, clientY: y } = event;
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 12))}px`;
    tip.style.top = `${y + height + 28 > innerHeight ? Math.max(8, y - height - 14) : y + 14}px`;
  };
  document.addEventListener("pointermove", tell);
  document.addEventListener("pointerdown", tell);
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A table that is wider than its box says so.
  const hints = [...document.querySelectorAll(".scroll")].map((box) => {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "Scroll sideways for more.";
    box.after(hint);
    return [box, hint];
  });
  const hinted = new ResizeObserver(() => {
    for (const [box, hint] of hints) hint.classList.toggle("shown", box.scrollWidth > box.clientWidth + 1);
  });
  for (const [box] of hints) hinted.observe(box);

  for (const block of document.querySelectorAll("pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block);  // without the right to copy, the text is at least selected
        button.textContent = "Selected";
      }
    });
    const holder = document.createElement("div");
    holder.className = "copied";
    block.replaceWith(holder);
    holder.append(block, button);
  }

  const sortBy = (header) => {
    const table = header.closest("table");
    const rising = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[header.cellIndex].dataset.value, row]);
    const sign = rising ? 1 : -1;
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what does not apply stays last
      return sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  const networks = [...document.querySelectorAll("details.network")];
  const openAll = document.getElementById("open-all");
  if (openAll) {
    openAll.addEventListener("click", () => {
      const closed = networks.some((network) => !network.open);
      for (const network of networks) network.open = closed;
    });
  }
  const openLinked = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", openLinked);
  openLinked();
})();
