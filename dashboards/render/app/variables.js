// The variables of a dashboard: their values, asked of Prometheus in order, and their replacement in text.

import { get, labelValues, vector } from './query.js';

const REGEX_SPECIAL = /[\\^$*+?.()|[\]{}]/g;

const escapeString = (text) => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"');
// In a PromQL string, each backslash of a regular expression is written twice.
const escapeRegex = (text) => text.replace(REGEX_SPECIAL, '\\\\$&').replace(/"/g, '\\"');

/** A list as Grafana's Prometheus data source writes it into a matcher. */
function forPrometheus(values, isList) {
  if (!isList) {
    return escapeString(values[0] ?? '');
  }
  const escaped = values.map(escapeRegex);
  return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
}

/** `${name:format}` for the formats that dashboards use. */
function inFormat(values, format, name) {
  switch (format) {
    case 'percentencode':
      return encodeURIComponent(values.length === 1 ? values[0] : `{${values.join(',')}}`);
    case 'queryparam':
      return values.map((v) => `var-${name}=${encodeURIComponent(v)}`).join('&');
    case 'raw':
    case 'text':
      return values.join(' + ');
    case 'csv':
      return values.join(',');
    case 'pipe':
      return values.join('|');
    case 'doublequote':
      return values.map((v) => `"${v}"`).join(',');
    case 'singlequote':
      return values.map((v) => `'${v}'`).join(',');
    case 'regex':
      return values.length === 1
        ? values[0].replace(REGEX_SPECIAL, '\\$&')
        : `(${values.map((v) => v.replace(REGEX_SPECIAL, '\\$&')).join('|')})`;
    default:
      throw new Error(`the format :${format} of a variable is not known to the renderer`);
  }
}

const NAME = /\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.[^:^}]+)?(?::([^}]+))?\}/g;

export class Variables {
  constructor() {
    this.known = new Map();
  }

  /** A value that is not a variable of the dashboard, such as `__interval`. */
  set(name, value) {
    this.known.set(name, { values: [String(value)], isBuiltIn: true });
  }

  copy() {
    const other = new Variables();
    other.known = new Map(this.known);
    return other;
  }

  replace(text, format) {
    if (typeof text !== 'string' || !/\$|\[\[/.test(text)) {
      return text;
    }
    return text.replace(NAME, (match, plain, square, squareFormat, braced, bracedFormat) => {
      const found = this.known.get(plain ?? square ?? braced);
      if (!found) {
        return match;
      }
      const wanted = squareFormat ?? bracedFormat;
      if (wanted) {
        return inFormat(found.values, wanted, plain ?? square ?? braced);
      }
      if (found.custom !== undefined) {
        return found.custom;
      }
      if (format === 'promql' && !found.isBuiltIn) {
        return forPrometheus(found.values, found.isList);
      }
      return format === 'promql' || found.isBuiltIn ? found.values[0] : (found.text ?? found.values.join(' + '));
    });
  }

  /** For what is repeated: the variables as they are for each value of one of them. */
  each(name) {
    const { values = [], ...rest } = this.known.get(name) ?? {};
    if (values.length === 0) {
      return [this];
    }
    return values.map((value) => {
      const scope = this.copy();
      scope.known.set(name, { ...rest, values: [value], text: value, custom: undefined });
      return scope;
    });
  }

  /** What the top of the dashboard shows: label and text of each visible variable. */
  shown() {
    return [...this.known.values()].filter((v) => v.label !== undefined && !v.hidden);
  }
}

/** Find the values of all variables; `wanted` are those from the command line, as lists by name. */
export async function resolveVariables(list, wanted, range) {
  const variables = new Variables();
  variables.set('__from', range.from);
  variables.set('__to', range.to);
  variables.set('__range', `${Math.round((range.to - range.from) / 1000)}s`);
  variables.set('__range_s', Math.round((range.to - range.from) / 1000));
  variables.set('__range_ms', range.to - range.from);
  variables.set('timezone', 'utc');
  const names = new Set(list.map((v) => v.name));
  for (const name of Object.keys(wanted)) {
    if (!names.has(name)) {
      console.warn(`the dashboard has no variable ${name}`);
    }
  }
  for (const definition of list) {
    variables.known.set(definition.name, await resolve(definition, wanted[definition.name], variables, range));
  }
  return variables;
}

async function resolve(definition, wanted, variables, range) {
  const result = {
    label: definition.label || definition.name,
    hidden: definition.hide === 2,
    isList: Boolean(definition.multi || definition.includeAll),
  };
  const options = await optionsOf(definition, variables, range);
  const current = [definition.current?.value ?? []].flat().filter((v) => v !== '');
  let values = wanted ?? current;
  const isAll = values.includes('$__all') || values.includes('All') || (values.length === 0 && definition.includeAll);
  if (definition.type === 'datasource') {
    // There is one Prometheus here, whatever it is called.
    return { ...result, values: ['prometheus'], text: 'Prometheus' };
  }
  if (isAll) {
    result.text = 'All';
    result.values = options;
    if (definition.allValue) {
      result.custom = variables.replace(definition.allValue);
    }
    return result;
  }
  if (!wanted && definition.type === 'query') {
    // As in Grafana: what was saved counts as long as it is still offered.
    values = values.filter((v) => options.includes(v));
  }
  if (values.length === 0) {
    values = options.slice(0, 1);
  }
  return { ...result, values, text: values.join(' + ') };
}

async function optionsOf(definition, variables, range) {
  switch (definition.type) {
    case 'query':
      return filtered(await queried(definition, variables, range), definition);
    case 'custom':
    case 'interval':
      return (typeof definition.query === 'string' ? definition.query : '')
        .split(/(?<!\\),/)
        .map((v) => v.trim().split(' : ').pop())
        .filter(Boolean);
    case 'constant':
    case 'textbox':
      return [typeof definition.query === 'string' ? definition.query : ''];
    case 'datasource':
    case 'adhoc':
      return [];
    default:
      throw new Error(`variable ${definition.name}: the type ${definition.type} is not known to the renderer`);
  }
}

async function queried(definition, variables, range) {
  const text = variables.replace(
    typeof definition.query === 'string' ? definition.query : (definition.query?.query ?? ''),
    'promql'
  );
  const found = /^label_values\((?:(.+),\s*)?([a-zA-Z_$][\w]*)\)\s*$/s.exec(text);
  if (found) {
    return labelValues(found[2], found[1], range);
  }
  const expression = /^query_result\((.+)\)\s*$/s.exec(text);
  if (expression) {
    return (await vector(expression[1], range.to)).map(({ metric, value }) => {
      const { __name__: name = '', ...labels } = metric;
      const inside = Object.entries(labels).map(([k, v]) => `${k}="${v}"`);
      return `${name}{${inside.join(',')}} ${value[1]} ${value[0] * 1000}`;
    });
  }
  const metrics = /^metrics\((.*)\)\s*$/s.exec(text);
  if (metrics) {
    return (await labelValues('__name__', undefined, range)).filter((name) => new RegExp(metrics[1]).test(name));
  }
  if (/^label_names\(\)\s*$/.test(text)) {
    return get('labels', {});
  }
  throw new Error(`variable ${definition.name}: the query ${text} is not known to the renderer`);
}

function filtered(options, { name, regex, sort }) {
  let result = options;
  if (regex) {
    const [, body, flags] = /^\/(.*)\/([a-z]*)$/s.exec(regex) ?? [null, regex, ''];
    const pattern = new RegExp(body, flags.replace('g', ''));
    result = result.flatMap((option) => {
      const match = pattern.exec(option);
      return match ? [match.groups?.value ?? match.groups?.text ?? match[1] ?? match[0]] : [];
    });
  }
  result = [...new Set(result)];
  const order = {
    1: (a, b) => (a < b ? -1 : 1),
    3: (a, b) => parseFloat(a) - parseFloat(b),
    5: (a, b) => a.toLowerCase().localeCompare(b.toLowerCase()),
    7: (a, b) => a.localeCompare(b, undefined, { numeric: true }),
  };
  if (sort) {
    const compare = order[sort % 2 ? sort : sort - 1];
    if (!compare) {
      throw new Error(`variable ${name}: the order ${sort} is not known to the renderer`);
    }
    result.sort(compare);
    if (sort % 2 === 0) {
      result.reverse();
    }
  }
  return result;
}
