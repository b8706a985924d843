// Draws /openapi.json. All text goes in by textContent, so nothing in the document can become markup.
"use strict";

function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function resolve(spec, schema) {
  while (schema && schema.$ref) schema = spec.components.schemas[schema.$ref.split("/").pop()];
  return schema || {};
}

function typeOf(spec, schema) {
  const s = resolve(spec, schema);
  const type = Array.isArray(s.type) ? s.type.join(" or ") : s.type || "any";
  if (s.items) return "array of " + typeOf(spec, s.items);
  if (s.enum) return s.enum.join(" | ");
  return s.format ? type + " (" + s.format + ")" : type;
}

function rowsOf(spec, schema, prefix, depth) {
  const s = resolve(spec, schema);
  if (s.items) return rowsOf(spec, s.items, prefix + "[]", depth);
  const rows = [];
  for (const [name, member] of Object.entries(s.properties || {})) {
    const path = prefix ? prefix + "." + name : name;
    const full = resolve(spec, member);
    const notes = [member.description || full.description || ""];
    if (full.default !== undefined) notes.push("Default " + JSON.stringify(full.default) + ".");
    rows.push([path, typeOf(spec, member), (s.required || []).includes(name) ? "required" : "", notes.join(" ")]);
    if (depth < 3) rows.push(...rowsOf(spec, member, path, depth + 1));
  }
  return rows;
}

function table(rows) {
  const t = element("table");
  for (const row of rows) {
    const tr = element("tr");
    row.forEach((cell, i) => {
      const td = element("td");
      td.append(i === 0 ? element("code", "", cell) : cell);
      tr.append(td);
    });
    t.append(tr);
  }
  return t;
}

function section(parent, title, rows) {
  if (!rows.length) return;
  parent.append(element("h3", "", title), table(rows));
}

function contents(spec, holder) {
  const media = Object.values((holder && holder.content) || {})[0];
  return media && media.schema ? rowsOf(spec, media.schema, "", 0) : [];
}

function callOf(spec, method, path, op) {
  const box = element("details");
  box.id = op.operationId;
  const head = element("summary");
  head.append(element("span", "method " + method, method.toUpperCase()), element("code", "path", path), element("span", "what", op.summary || ""));
  const body = element("div");
  const who = (op.security || []).map((s) => Object.keys(s)[0]).join(" or ");
  body.append(element("p", "", [who ? "Credential: " + who + "." : "No credential.", op.description || ""].join(" ")));
  section(body, "Parameters", (op.parameters || []).map((p) =>
    [p.name, p.in + ", " + typeOf(spec, p.schema), p.required ? "required" : "",
      [p.description || "", p.schema.default !== undefined ? "Default " + p.schema.default + "." : ""].join(" ")]));
  section(body, "Request", contents(spec, op.requestBody));
  for (const [status, response] of Object.entries(op.responses || {})) {
    section(body, "Answer " + status + " " + (response.description || ""), contents(spec, response));
    section(body, "Headers of " + status, Object.entries(response.headers || {}).map(([name, h]) => [name, typeOf(spec, h.schema), "", h.description || h.schema.description || ""]));
  }
  box.append(head, body);
  return box;
}

function draw(spec) {
  document.getElementById("about").textContent = spec.info.description + " Version " + spec.info.version + ".";
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      if (!op.operationId) continue;
      const tag = (op.tags || ["Other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(callOf(spec, method, path, op));
    }
  }
  const main = document.getElementById("calls"), index = document.getElementById("index");
  main.replaceChildren();
  for (const [tag, calls] of groups) {
    const part = element("section"), anchor = tag.replace(/[^A-Za-z0-9]+/g, "-");
    part.id = anchor;
    part.append(element("h2", "", tag), ...calls);
    main.append(part);
    const link = element("a", "", tag);
    link.href = "#" + anchor;
    index.append(link);
  }
}

function filter(text) {
  for (const part of document.querySelectorAll("section")) {
    let shown = 0;
    for (const box of part.querySelectorAll("details")) {
      box.hidden = !box.querySelector("summary").textContent.toLowerCase().includes(text.toLowerCase());
      if (!box.hidden) shown++;
    }
    part.hidden = shown === 0;
  }
}

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(draw)
  .catch(() => { document.getElementById("calls").textContent = "The OpenAPI document could not be loaded."; });
document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
