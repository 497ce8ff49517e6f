// Questions to Prometheus, and their answers in the shape that Grafana's data source gives them.

import { FieldType, rangeUtil } from '@grafana/data';

const MAX_AT_ONCE = 4;
let running = 0;
const waiting = [];

async function oneOfFew(work) {
  if (running >= MAX_AT_ONCE) {
    await new Promise((resolve) => waiting.push(resolve));
  }
  running++;
  try {
    return await work();
  } finally {
    running--;
    waiting.shift()?.();
  }
}

/** The `data` of an answer of Prometheus' API; what it says against the question becomes an error. */
export function get(path, parameters) {
  return oneOfFew(async () => {
    const response = await fetch(`/prometheus/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const text = await response.text();
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Error(`Prometheus answers with status ${response.status}: ${text.slice(0, 200)}`);
    }
    if (answer.status !== 'success') {
      throw new Error(answer.error ?? `Prometheus answers with status ${response.status}`);
    }
    return answer.data;
  });
}

const seconds = (milliseconds) => (milliseconds / 1000).toFixed(3);

export function labelValues(label, metric, { from, to }) {
  const parameters = { start: seconds(from), end: seconds(to) };
  if (metric) {
    parameters['match[]'] = metric;
  }
  return get(`label/${label}/values`, parameters);
}

export async function vector(expr, time) {
  const { resultType, result } = await get('query', { query: expr, time: seconds(time) });
  return resultType === 'scalar' ? [{ metric: {}, value: result }] : result;
}

export async function matrix(expr, { from, to }, step) {
  // Grafana moves both ends to a multiple of the step, so that reloading does not make the lines shake.
  const start = Math.floor(from / step) * step;
  const end = Math.floor(to / step) * step;
  const { result } = await get('query_range', {
    query: expr,
    start: seconds(start),
    end: seconds(end),
    step: seconds(step),
  });
  return result;
}

/** The step of a panel: from its width, never less than the scrape interval. */
export function intervalOf(panel, range, width, scrapeInterval) {
  const minimum = panel.interval ? rangeUtil.intervalToMs(panel.interval.replace(/^>/, '')) : scrapeInterval;
  const wanted = (range.to - range.from) / (panel.maxDataPoints ?? Math.max(Math.floor(width), 100));
  return Math.max(rangeUtil.roundInterval(wanted), minimum);
}

function withInterval(variables, step, scrapeInterval) {
  const scope = variables.copy();
  const rate = Math.max(step + scrapeInterval, 4 * scrapeInterval);
  for (const [name, value] of Object.entries({ __interval: step, __rate_interval: rate })) {
    scope.set(name, value % 1000 ? `${value}ms` : `${value / 1000}s`);
    scope.set(`${name}_ms`, value);
  }
  return scope;
}

/** All queries of a panel, as data frames. */
export async function queryPanel(panel, variables, range, width, scrapeInterval) {
  const panelStep = intervalOf(panel, range, width, scrapeInterval);
  const targets = (panel.targets ?? []).filter((target) => !target.hide && target.expr);
  const answers = await Promise.all(
    targets.map(async (target) => {
      const own = target.interval ? rangeUtil.intervalToMs(variables.replace(target.interval)) : 0;
      const step = Math.max(panelStep, own) * (target.intervalFactor || 1);
      const expr = withInterval(variables, step, scrapeInterval).replace(target.expr, 'promql');
      try {
        return await frames(target, expr, range, step);
      } catch (error) {
        throw new Error(`query ${target.refId}: ${error.message}`);
      }
    })
  );
  return tables(answers.flat());
}

async function frames(target, expr, range, step) {
  const result = [];
  if (target.instant) {
    const series = await vector(expr, range.to);
    result.push(...series.map(({ metric, value }) => frame(target, expr, metric, [value])));
  }
  if (target.range ?? !target.instant) {
    const series = await matrix(expr, range, step);
    result.push(...series.map(({ metric, values }) => frame(target, expr, metric, values, step)));
  }
  if (result.length === 0) {
    result.push({ refId: target.refId, fields: [], length: 0 });
  }
  for (const one of result) {
    one.isTable = target.format === 'table';
  }
  return result;
}

const number = (text) => ({ '+Inf': Infinity, '-Inf': -Infinity })[text] ?? Number(text);

function frame(target, expr, metric, samples, step) {
  const name = legend(target.legendFormat, expr, metric);
  return {
    refId: target.refId,
    name,
    meta: { type: step ? 'timeseries-multi' : 'numeric-multi' },
    fields: [
      {
        name: 'Time',
        type: FieldType.time,
        config: step ? { interval: step } : {},
        values: samples.map(([time]) => Math.round(time * 1000)),
      },
      {
        name: metric.__name__ ?? 'Value',
        type: FieldType.number,
        config: name ? { displayNameFromDS: name } : {},
        labels: metric,
        values: samples.map(([, value]) => number(value)),
      },
    ],
    length: samples.length,
  };
}

function legend(format, expr, metric) {
  if (format && format !== '__auto') {
    return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '');
  }
  const { __name__: name = '', ...labels } = metric;
  const inside = Object.entries(labels).map(([k, v]) => `${k}="${v}"`);
  if (format === '__auto' && inside.length > 0) {
    return ''; // Grafana finds a name among the labels
  }
  return inside.length > 0 ? `${name}{${inside.join(', ')}}` : name || expr;
}

/** Queries in the format "table": one frame for each, with a column for each label. */
function tables(all) {
  const plain = all.filter((one) => !one.isTable);
  const ofTables = all.filter((one) => one.isTable);
  if (ofTables.every((one) => one.length === 0)) {
    return [...plain, ...ofTables];
  }
  const refs = [...new Set(ofTables.map((one) => one.refId))];
  return [...plain, ...refs.map((ref) => table(ofTables.filter((one) => one.refId === ref), refs.length))];
}

function table(parts, count) {
  const { refId } = parts[0];
  const full = parts.filter((part) => part.length > 0);
  const labels = new Set();
  for (const part of full) {
    Object.keys(part.fields[1].labels).sort().forEach((label) => labels.add(label));
  }
  const column = (values) => full.flatMap((part) => values(part));
  const fields = [
    { name: 'Time', type: FieldType.time, config: {}, values: column((part) => part.fields[0].values) },
    ...[...labels].map((label) => ({
      name: label,
      type: FieldType.string,
      config: { filterable: true },
      values: column((part) => part.fields[0].values.map(() => part.fields[1].labels[label] ?? '')),
    })),
    {
      name: count > 1 ? `Value #${refId}` : 'Value',
      type: FieldType.number,
      config: {},
      values: column((part) => part.fields[1].values),
    },
  ];
  return { refId, fields, length: fields[0].values.length };
}

/** Annotations that are switched on, as { time, end, color, text }. */
export async function queryAnnotations(list, variables, range, scrapeInterval) {
  const all = await Promise.all(
    list
      .map((annotation) => ({ ...annotation, expr: annotation.target?.expr || annotation.expr }))
      .filter((annotation) => annotation.enable && annotation.expr)
      .map(async (annotation) => {
        const step = annotation.step
          ? rangeUtil.intervalToMs(variables.replace(annotation.step))
          : Math.max(rangeUtil.roundInterval((range.to - range.from) / 200), scrapeInterval);
        const scope = withInterval(variables, step, scrapeInterval);
        const series = await matrix(scope.replace(annotation.expr, 'promql'), range, step);
        return series.flatMap(({ values }) => events(values, annotation, step));
      })
  );
  return all.flat();
}

/** Values above zero that follow each other are one event. */
function events(values, { iconColor, name, useValueForTime }, step) {
  const result = [];
  for (const [time, value] of values) {
    if (!(Number(value) > 0)) {
      continue;
    }
    const at = useValueForTime ? Math.floor(Number(value)) : time * 1000;
    const last = result.at(-1);
    if (last && at - last.end <= step) {
      last.end = at;
    } else {
      result.push({ time: at, end: at, color: iconColor, name });
    }
  }
  return result;
}
