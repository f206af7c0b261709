// What the compiler does for a module beside compiling it: numbers its reasons and
// metrics, and puts their names into the sections that make them part of the signed bytes.
import { Node } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

const SECTIONS = { reason: "guardlock.reasons", metric: "guardlock.metrics" };
const NAME = /^[a-z0-9_.]{1,64}$/;
const SDK = "guardlock/assembly/";

export default class Catalogue extends Transform {
  names = { reason: [], metric: [] };

  // Declarations are numbered file by file, in the order of the files' names.
  afterParse(parser) {
    const own = parser.sources.filter((s) => !s.internalPath.startsWith("~lib/") && !s.internalPath.startsWith(SDK));
    own.sort((a, b) => (a.internalPath < b.internalPath ? -1 : 1));
    for (const source of own) this.number(source);
  }

  number(source) {
    const imported = importedNames(source);
    for (const call of topLevelCalls(source)) {
      const what = imported.get(call.expression.text);
      const argument = call.args[0];
      if (what === undefined || typeof argument?.value !== "string" || call.args.length !== 1) continue;

      const name = argument.value;
      if (!NAME.test(name)) throw told(`${source.normalizedPath}: "${name}" is no name for a ${what}: it is [a-z0-9_.]{1,64}`);
      if (this.names[what].includes(name)) throw told(`${source.normalizedPath}: the ${what} ${name} is declared twice`);
      this.names[what].push(name);
      call.args[0] = Node.createIntegerLiteralExpression(i64_new(this.names[what].length, 0), argument.range);
    }
  }

  afterCompile(module) {
    for (const [what, section] of Object.entries(SECTIONS)) {
      const names = this.names[what];
      if (names.length > 0) module.addCustomSection(section, new TextEncoder().encode(names.map((n) => n + "\n").join("")));
    }
  }
}

/** By which names a file knows `reason` and `metric` of the SDK. */
function importedNames(source) {
  const names = new Map();
  for (const statement of source.statements) {
    if (!statement.internalPath?.startsWith(SDK.slice(0, -1))) continue;
    for (const d of statement.declarations ?? []) {
      if (d.foreignName?.text in SECTIONS) names.set(d.name.text, d.foreignName.text);
    }
  }
  return names;
}

/** The calls that give a variable of the file its value. */
function* topLevelCalls(source) {
  for (const statement of source.statements) {
    for (const d of statement.declarations ?? []) {
      if (d.initializer?.args && d.initializer.expression) yield d.initializer;
    }
  }
}

/** An error that the compiler prints without a trace of itself. */
function told(text) {
  const error = new Error(text);
  error.stack = text;
  return error;
}
