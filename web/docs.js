
"use strict";
// Shows the two documents. Everything is put in as text, never as HTML.
(() => {
  const el = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    for (const child of children.flat()) if (child !== null && child !== undefined && child !== "") node.append(child);
    return node;
  };
  const code = (text) => el("code", {}, text);

  // Lines of a little Markdown: `code`, **strong**, [text](link) as text, lists and paragraphs.
  const inline = (text) => {
    const parts = [];
    const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\([^)]*\)/g;
    let last = 0;
    for (const found of text.matchAll(pattern)) {
      parts.push(text.slice(last, found.index));
      if (found[1] !== undefined) {
        const name = found[1];
        parts.push(/^CRYPTO_[A-Z_]+$/.test(name) ? el("a", { href: "#" + name }, code(name)) : code(name));
      } else if (found[2] !== undefined) parts.push(el("strong", {}, found[2]));
      else parts.push(found[3]);
      last = found.index + found[0].length;
    }
    parts.push(text.slice(last));
    return parts;
  };
  const prose = (text) =>
    (text || "").split(/\n\n+/).filter((part) => part.trim()).map((part) => {
      const lines = part.split("\n");
      if (lines.every((line) => line.startsWith("- ")))
        return el("ul", {}, lines.map((line) => el("li", {}, inline(line.slice(2)))));
      return el("p", {}, inline(part));
    });

  // A schema in few words.
  const kind = (schema) => {
    if (!schema || schema === true) return "any";
    if (schema.$ref) return el("a", { href: "#schema-" + name_of(schema.$ref) }, name_of(schema.$ref));
    if (schema.const !== undefined) return code(JSON.stringify(schema.const));
    if (schema.enum) {
      const words = schema.enum.map((word) => (word === null ? "null" : word));
      return el("span", {}, words.slice(0, 30).flatMap((word, at) => [at ? ", " : "", code(String(word))]));
    }
    const several = schema.oneOf || schema.anyOf;
    if (several && schema.type !== "string") {
      const kinds = several.map(kind);
      return el("span", {}, kinds.flatMap((one, at) => [at ? " or " : "", one]));
    }
    if (schema.allOf) return el("span", {}, schema.allOf.map(kind));
    const type = [].concat(schema.type || "object");
    if (type[0] === "array") return el("span", {}, "list of ", kind(schema.items));
    let text = type.join(" or ");
    if (schema.format) text += ", " + schema.format;
    if (schema.minimum !== undefined && schema.maximum !== undefined) text += ", " + schema.minimum + " to " + schema.maximum;
    if (schema.default !== undefined) text += ", without it " + JSON.stringify(schema.default);
    if (schema.additionalProperties && schema.additionalProperties !== true && !schema.properties)
      return el("span", {}, "by name: ", kind(schema.additionalProperties));
    return text;
  };
  const name_of = (reference) => reference.split("/").pop();

  const table = (heads, rows) =>
    el("div", { class: "table" }, el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));

  // Fields of an object, and of the objects in it.
  const fields = (schema, deep) => {
    if (!schema || typeof schema !== "object") return [];
    const several = schema.oneOf || schema.anyOf;
    if (several && several.some((one) => one.properties || one.type === "array"))
      return several.filter((one) => one.type !== "null").flatMap((one) => [
        one.title || one.description ? el("p", { class: "soft" }, one.title || one.description) : null,
        ...fields(one, deep)]);
    if (schema.type === "array" || (Array.isArray(schema.type) && schema.type[0] === "array"))
      return [el("p", {}, kind(schema))].concat(fields(schema.items, deep));
    if (!schema.properties) {
      const by_name = schema.additionalProperties;
      if (by_name && by_name.properties) return [el("p", { class: "soft" }, "By name:"), ...fields(by_name, deep)];
      return deep ? [] : [el("p", {}, kind(schema))];
    }
    const required = schema.required || [];
    const rows = Object.entries(schema.properties).map(([name, one]) => {
      const inner = one.properties || (one.items && one.items.properties) ||
        (one.additionalProperties && one.additionalProperties.properties) || one.oneOf;
      return [[code(name), required.includes(name) ? "" : el("span", { class: "soft" }, " ?")],
        inner && !one.$ref ? (one.items ? "list of:" : "") : kind(one),
        [el("span", {}, inline(one.description || "")),
          ...(inner && !one.$ref ? fields(one.items && one.items.properties ? one.items : one, true) : [])]];
    });
    return [rows.length ? table(["field", "what", "meaning"], rows) : null];
  };

  // JSON with line breaks, number by number as it came: parsing would round what has many digits.
  const indented = (text) => {
    let out = "", depth = 0, in_text = false;
    const line = () => "\n" + "  ".repeat(depth);
    for (let at = 0; at < text.length; at += 1) {
      const c = text[at];
      if (in_text) {
        out += c;
        if (c === "\\") out += text[++at];
        else if (c === '"') in_text = false;
      } else if (c === '"') { in_text = true; out += c; }
      else if (c === "{" || c === "[") {
        const end = c === "{" ? "}" : "]";
        if (text[at + 1] === end) { out += c + end; at += 1; }
        else { depth += 1; out += c + line(); }
      } else if (c === "}" || c === "]") { depth -= 1; out += line() + c; }
      else if (c === ",") out += c + line();
      else if (c === ":") out += ": ";
      else if (!/\s/.test(c)) out += c;
    }
    return out;
  };
  const example = (value) => el("pre", {}, indented(JSON.stringify(value)));

  const input = (parameter, id) => {
    const words = parameter.schema.enum;
    if (words || parameter.schema.type === "boolean") {
      const all = ["", ...(words || ["true", "false"])];
      const select = el("select", { id, name: parameter.name }, all.map((word) => el("option", { value: word }, word)));
      if (parameter.required && parameter.example) select.value = parameter.example;
      return select;
    }
    const value = parameter.required && parameter.example !== undefined ? String(parameter.example) : "";
    const attributes = { id, name: parameter.name, type: "text", value, autocomplete: "off" };
    if (parameter.example !== undefined) attributes.placeholder = String(parameter.example);
    if (parameter.required) attributes.required = "";
    return el("input", attributes);
  };

  const try_it = (path, operation) => {
    const inputs = operation.parameters.filter((one) => one.in !== "header").map((parameter) => {
      const id = "try-" + operation.operationId + "-" + parameter.name;
      return { parameter, id, node: input(parameter, id) };
    });
    const result = el("div", { role: "status" });
    const form = el("form", { class: "try" }, el("h4", {}, "Try it"),
      el("div", { class: "fields" }, inputs.map(({ parameter, id, node }) => el("div", {},
        el("label", { for: id }, parameter.name + (parameter.required ? " (required)" : "")), node))),
      el("button", { type: "submit" }, "Send"), result);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      let target = path;
      const query = new URLSearchParams();
      for (const { parameter, node } of inputs) {
        const value = node.value.trim();
        if (!value) continue;
        if (parameter.in === "path") target = target.replace("{" + parameter.name + "}", encodeURIComponent(value));
        else query.append(parameter.name, value);
      }
      const url = target + (query.size ? "?" + query : "");
      const key = document.getElementById("key").value.trim();
      const needs_key = operation.security.length > 0;
      const headers = needs_key && key ? { authorization: "Bearer " + key } : {};
      const shown = "curl " + (needs_key ? "-H \"Authorization: Bearer $KEY\" " : "") + "'" + location.origin + url + "'";
      result.replaceChildren(el("pre", {}, shown), el("p", {}, "…"));
      try {
        const since = performance.now();
        const answer = await fetch(url, { headers, cache: "no-store", credentials: "omit" });
        const body = await answer.text();
        const took = Math.round(performance.now() - since);
        const is_json = (answer.headers.get("content-type") || "").includes("json");
        const facts = ["status " + answer.status, took + " ms", body.length + " characters",
          "trace " + answer.headers.get("x-trace-id"),
          answer.headers.get("x-ratelimit-remaining") + " of " + answer.headers.get("x-ratelimit-limit") + " requests left"];
        const cut = body.length > 200000 ? body.slice(0, 200000) : body;
        result.replaceChildren(el("pre", {}, shown), el("p", {}, facts.join(" · ")),
          el("pre", { tabindex: "0" }, is_json && cut === body ? indented(body) : cut));
      } catch (error) {
        result.replaceChildren(el("pre", {}, shown), el("p", {}, "No answer: " + error.message));
      }
    });
    return form;
  };

  const operation_node = (path, verb, operation, shared) => {
    const parts = [...prose(operation.description)];
    if (operation.parameters.length) {
      parts.push(el("h4", {}, "Parameters"), table(["name", "in", "what", "meaning"], operation.parameters.map((one) => [
        [code(one.name), one.required ? "" : el("span", { class: "soft" }, " ?")], one.in, kind(one.schema), inline(one.description)])));
    }
    if (operation.requestBody) {
      const content = operation.requestBody.content["application/json"];
      parts.push(el("h4", {}, "Body"), ...fields(content.schema), el("h4", {}, "For example"), example(content.example));
    }
    parts.push(el("h4", {}, "Answers"));
    for (const [status, told] of Object.entries(operation.responses)) {
      const answer = told.$ref ? shared[name_of(told.$ref)] : told;
      const content = answer.content || {};
      const json = content["application/json"];
      const types = Object.keys(content).join(", ");
      if (answer["x-codes"]) {
        parts.push(el("details", {}, el("summary", {}, el("strong", {}, status), " ",
          answer["x-codes"].flatMap((name, at) => [at ? ", " : "", code(name)])), ...prose(answer.description)));
      } else {
        parts.push(el("details", {}, el("summary", {}, el("strong", {}, status), " " + answer.description, " ",
          el("span", { class: "soft" }, types)), ...(json ? fields(json.schema) : [])));
      }
    }
    if (verb === "get") parts.push(try_it(path, operation));
    return el("details", { class: "item", id: operation.operationId }, el("summary", {},
      el("span", { class: "verb " + verb }, verb.toUpperCase()), " ", el("h3", { class: "path" }, path), " ",
      el("span", { class: "soft" }, operation.summary)), el("div", {}, parts));
  };

  const message_node = (id, message) => el("details", { class: "item", id }, el("summary", {},
    el("h3", { class: "path" }, message.name), " ", el("span", { class: "soft" }, message.summary)),
    el("div", {}, fields(message.payload),
      message.payload.properties && message.payload.properties.params
        ? [el("h4", {}, "params"), ...fields(message.payload.properties.params)] : [],
      (message.examples || []).flatMap((one) => [el("h4", {}, "For example"), example(one.payload)])));

  const show = (rest, socket) => {
    const main = document.getElementById("content");
    const nav = document.getElementById("nav");
    const main_parts = [], nav_parts = [];
    const section = (title, id, nodes, links) => {
      main_parts.push(el("section", { "aria-labelledby": id }, el("h2", { id }, title), nodes));
      nav_parts.push(el("h2", {}, el("a", { href: "#" + id }, title)),
        el("ul", {}, links.map(([to, ...text]) => el("li", {}, el("a", { href: "#" + to }, text)))));
    };
    document.getElementById("version").textContent = rest.info.version;
    main_parts.push(el("div", {}, prose(rest.info.description), el("p", {}, "The documents: ",
      el("a", { href: "/api/openapi.json" }, "OpenAPI 3.1"), ", ", el("a", { href: "/api/asyncapi.json" }, "AsyncAPI 3.0"))));
    const schemes = Object.entries(rest.components.securitySchemes);
    section("Keys", "keys", table(["scheme", "where", "what"], schemes.map(([name, one]) =>
      [code(name), code(one.name || "Authorization"), inline(one.description)])), []);
    const verbs = ["get", "post", "put", "patch", "delete"];
    for (const { name } of rest.tags) {
      const nodes = [], links = [];
      for (const [path, item] of Object.entries(rest.paths)) for (const verb of verbs) {
        const operation = item[verb];
        if (!operation || operation.tags[0] !== name) continue;
        nodes.push(operation_node(path, verb, operation, rest.components.responses));
        links.push([operation.operationId, el("span", { class: verb }, verb.toUpperCase()), " " + path.replace(/^\/api/, "")]);
      }
      section(name[0].toUpperCase() + name.slice(1), "tag-" + name.replace(/\W/g, "-"), nodes, links);
    }
    const messages = socket.components.messages;
    for (const [name, operation] of Object.entries(socket.operations)) {
      const nodes = prose(operation.summary), links = [];
      if (name === "requests") nodes.unshift(...prose(socket.info.description),
        table(["close code", "when"], socket.channels.ws["x-close-codes"].map((one) => [code(String(one.code)), one.when])));
      for (const reference of operation.messages) {
        const key = name_of(reference.$ref);
        nodes.push(message_node("message-" + key, messages[key]));
        links.push(["message-" + key, messages[key].name]);
      }
      section("WebSocket /ws: " + name, "ws-" + name, nodes, links);
    }
    const codes = rest.components.schemas.ErrorCode["x-codes"];
    section("Error codes", "codes", [el("p", {}, "Every error, REST and WebSocket alike:"), fields(rest.components.schemas.ErrorObject),
      codes.map((one) => el("details", { class: "item", id: one.code }, el("summary", {}, el("h3", { class: "path" }, one.code), " ",
        el("span", { class: "soft" }, one.status + ": " + one.suggestion)), el("div", {}, prose(one.runbook))))],
      codes.map((one) => [one.code, one.code.replace(/^CRYPTO_/, "")]));
    const schemas = Object.entries(rest.components.schemas).filter(([name]) => name !== "ErrorCode");
    section("Schemas", "schemas", schemas.map(([name, schema]) => el("details", { class: "item", id: "schema-" + name },
      el("summary", {}, el("h3", { class: "path" }, name)), el("div", {}, prose(schema.properties ? schema.description : ""), fields(schema)))),
      schemas.map(([name]) => ["schema-" + name, name]));
    main.replaceChildren(...main_parts);
    nav.replaceChildren(...nav_parts);
    // `ErrorCode` is the list of codes.
    const codes_node = document.getElementById("codes");
    codes_node.before(el("span", { id: "schema-ErrorCode" }));
  };

  const open_target = () => {
    const node = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!node) return;
    if (node.tagName === "DETAILS") node.open = true;
    node.scrollIntoView();
  };

  const filter = () => {
    const wanted = document.getElementById("filter").value.trim().toLowerCase();
    for (const node of document.querySelectorAll("details.item"))
      node.classList.toggle("hidden", wanted !== "" && !node.textContent.toLowerCase().includes(wanted));
    for (const link of document.querySelectorAll("nav li a")) {
      const node = document.getElementById(link.hash.slice(1));
      link.parentNode.classList.toggle("hidden", node !== null && node.classList.contains("hidden"));
    }
  };

  const document_of = async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(path + " was answered with " + answer.status);
    return answer.json();
  };
  Promise.all([document_of("/api/openapi.json"), document_of("/api/asyncapi.json")]).then(([rest, socket]) => {
    show(rest, socket);
    document.getElementById("filter").addEventListener("input", filter);
    window.addEventListener("hashchange", open_target);
    open_target();
    document.documentElement.dataset.ready = "yes";
  }).catch((error) => {
    document.getElementById("state").textContent = "The documents can't be shown: " + error.message;
  });
})();
