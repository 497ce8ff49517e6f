// From the frames of the queries to the fields that a panel draws: transformations, defaults and overrides.

import { lastValueFrom } from 'rxjs';
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  FieldConfigOptionsRegistry,
  FieldType,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  thresholdsOverrideProcessor,
  transformDataFrame,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';

export function registerTransformers() {
  const all = [...new Set(Object.values(standardTransformers))];
  standardTransformersRegistry.setInit(() =>
    all.map((transformer) => ({
      id: transformer.id,
      name: transformer.name,
      transformation: () => Promise.resolve(transformer),
    }))
  );
}

export async function transform(frames, transformations, variables) {
  for (const { id, disabled } of transformations ?? []) {
    if (!disabled && !standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`the transformation ${id} is not known to the renderer`);
    }
  }
  const context = { interpolate: (text) => variables.replace(text) };
  return lastValueFrom(transformDataFrame(transformations ?? [], frames, context));
}

const isNumber = (field) => field.type === FieldType.number;
const isNotTime = (field) => field.type !== FieldType.time;
const always = () => true;

// The fields of fieldConfig that every panel has, as in Grafana.
const STANDARD = [
  ['unit', unitOverrideProcessor, always],
  ['min', numberOverrideProcessor, isNumber],
  ['max', numberOverrideProcessor, isNumber],
  ['fieldMinMax', identityOverrideProcessor, isNumber],
  ['decimals', numberOverrideProcessor, isNumber],
  ['displayName', displayNameOverrideProcessor, always],
  ['noValue', identityOverrideProcessor, always],
  ['thresholds', thresholdsOverrideProcessor, always],
  ['mappings', valueMappingsOverrideProcessor, isNotTime],
  ['color', identityOverrideProcessor, always],
  ['description', identityOverrideProcessor, always],
  ['links', dataLinksOverrideProcessor, always],
];

/** The options of one panel: the standard ones, and those below `custom` that it sets. */
function registry({ defaults, overrides }) {
  const custom = new Set(Object.keys(defaults.custom ?? {}));
  for (const { properties } of overrides) {
    for (const { id } of properties) {
      if (id.startsWith('custom.')) {
        custom.add(id.slice('custom.'.length));
      }
    }
  }
  const settings = { expandTemplateVars: true };
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map(([id, process, shouldApply]) => ({ id, path: id, name: id, process, shouldApply, settings })),
    ...[...custom].map((path) => ({
      id: `custom.${path}`,
      path,
      name: path,
      isCustom: true,
      process: identityOverrideProcessor,
      shouldApply: always,
      settings,
    })),
  ]);
}

const OF_A_FIELD = /\$\{__(field|series|data\.fields|cell)(?:\.([^}]+))?\}/g;

/** Names in text that stand for parts of a field: ${__field.labels.server} and the like. */
function replaceInField(variables) {
  return (text, scope) => {
    const data = scope?.__dataContext?.value;
    const replaced = String(text).replace(OF_A_FIELD, (match, what, path = '') => {
      if (what === 'series' && path === 'name') {
        return data?.frame.name ?? '';
      }
      const label = /^labels\.(.+)$/.exec(path) ?? /^labels\["(.+)"\]$/.exec(path);
      if (what === 'field' && label) {
        return data?.field.labels?.[label[1]] ?? '';
      }
      if (what === 'field' && (path === 'name' || path === 'displayName')) {
        return data?.field.config.displayNameFromDS ?? data?.field.name ?? '';
      }
      if (what === 'data.fields') {
        const column = data?.frame.fields.find((field) => path.startsWith(field.name));
        return String(column?.values[data.rowIndex ?? 0] ?? '');
      }
      throw new Error(`${match} is not known to the renderer`);
    });
    return variables.replace(replaced);
  };
}

const FALLBACK_THRESHOLDS = {
  mode: 'absolute',
  steps: [
    { value: null, color: 'green' },
    { value: 80, color: 'red' },
  ],
};

/** What Grafana fills in where a panel says nothing, by type of panel. */
const DEFAULTS = {
  timeseries: {
    color: { mode: 'palette-classic' },
    custom: {
      drawStyle: 'line',
      lineInterpolation: 'linear',
      barAlignment: 0,
      barWidthFactor: 0.6,
      lineWidth: 1,
      fillOpacity: 0,
      gradientMode: 'none',
      spanNulls: false,
      insertNulls: false,
      showPoints: 'auto',
      pointSize: 5,
      stacking: { mode: 'none', group: 'A' },
      axisPlacement: 'auto',
      axisLabel: '',
      axisColorMode: 'text',
      axisBorderShow: false,
      axisGridShow: true,
      axisCenteredZero: false,
      scaleDistribution: { type: 'linear' },
      hideFrom: { tooltip: false, viz: false, legend: false },
      thresholdsStyle: { mode: 'off' },
    },
  },
  table: { custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false } },
  'state-timeline': { custom: { lineWidth: 0, fillOpacity: 70, spanNulls: false } },
};

/** JSON knows no infinity: the first step of thresholds has null in its place. */
function withInfinity(thresholds) {
  const steps = thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  return { ...thresholds, steps };
}

function withInfinityInRule({ matcher, properties }) {
  const changed = properties.map((one) => (one.id === 'thresholds' ? { ...one, value: withInfinity(one.value) } : one));
  return { matcher, properties: changed };
}

export function applyFieldConfig(frames, panel, variables, theme, timeZone) {
  const ofType = DEFAULTS[panel.type] ?? {};
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const fieldConfig = {
    defaults: {
      ...defaults,
      thresholds: withInfinity(defaults.thresholds ?? FALLBACK_THRESHOLDS),
      color: defaults.color ?? ofType.color ?? { mode: 'thresholds' },
      custom: { ...ofType.custom, ...defaults.custom },
    },
    overrides: overrides.map(withInfinityInRule),
  };
  const prepared = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig),
    replaceVariables: replaceInField(variables),
    theme,
    timeZone,
  });
  // The headings of a table are taken from here.
  cacheFieldDisplayNames(prepared);
  return { fieldConfig, frames: prepared };
}
