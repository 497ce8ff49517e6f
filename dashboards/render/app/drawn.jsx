// What the npm packages of Grafana do not have is drawn here, in the same style: state timeline, gauge, annotations.

import {
  applyNullInsertThreshold,
  colorManipulator,
  dateTimeFormat,
  FALLBACK_COLOR,
  FieldType,
  formattedValueToString,
  getActiveThreshold,
  getFieldConfigWithMinMax,
  getFieldDisplayName,
  getValueFormat,
} from '@grafana/data';
import { measureText, useTheme2, VizLayout, VizLegend } from '@grafana/ui';

const FONT_SIZE = 12;
const AXIS_HEIGHT = 22;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TICKS = [5, 10, 15, 30]
  .map((n) => n * SECOND)
  .concat([1, 2, 5, 10, 15, 30].map((n) => n * MINUTE))
  .concat([1, 2, 3, 6, 12, 24].map((n) => n * HOUR));

function shorten(text, width) {
  if (measureText(text, FONT_SIZE).width <= width) {
    return text;
  }
  let length = text.length;
  while (length > 1 && measureText(`${text.slice(0, length)}…`, FONT_SIZE).width > width) {
    length--;
  }
  return `${text.slice(0, length)}…`;
}

const { alpha } = colorManipulator;

/** Whether the panel says how a missing value looks; a gap is left empty where it does not. */
function mapsNull(field) {
  return (field.config.mappings ?? []).some(
    ({ type, options }) => type === 'special' && ['null', 'null+nan'].includes(options.match)
  );
}

/** The names and colours of the steps of thresholds. */
function namedSteps({ thresholds, unit, decimals }, theme) {
  const format = getValueFormat(thresholds.mode === 'percentage' ? 'percent' : (unit ?? ''));
  const number = (value) => formattedValueToString(format(value, decimals));
  return thresholds.steps.map(({ value, color }, i, steps) => {
    const isOpenBelow = value === -Infinity && steps.length > i + 1;
    const name = isOpenBelow ? `< ${number(steps[i + 1].value)}` : `${number(value)}+`;
    return { name, color: theme.visualization.getColorByName(color) };
  });
}

/**
 * Where equal values are merged and colours come from thresholds, Grafana draws the steps of the thresholds and not the
 * values, and does not look at value mappings. So the field has the number of the step for each value here.
 */
function byThreshold(field, theme) {
  const { thresholds, color } = field.config;
  if (field.type !== FieldType.number || color?.mode !== 'thresholds' || !thresholds?.steps.length) {
    return field;
  }
  const named = namedSteps(field.config, theme);
  const { min, max } = getFieldConfigWithMinMax(field);
  const stepOf = (value) => {
    const compared = thresholds.mode === 'percentage' ? (100 * (value - min)) / (max - min) : value;
    return thresholds.steps.indexOf(getActiveThreshold(compared, thresholds.steps));
  };
  return {
    ...field,
    values: field.values.map((value) => (value === null || value === undefined ? null : stepOf(value))),
    display: (step) => ({ text: named[step]?.name ?? 'null', color: named[step]?.color, numeric: NaN }),
  };
}

/** Stretches of time with the same value, as { from, to, display }. */
function segments(times, field, timeRange, merge) {
  const [start, end] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  const span = field.config.custom?.spanNulls;
  const showsNull = mapsNull(field);
  const points = times.map((time, i) => ({ time, value: field.values[i] ?? null }));
  const known = span === true ? points.filter(({ value }) => value !== null) : points;
  const result = [];
  known.forEach(({ time, value }, i) => {
    const [from, to] = [Math.max(time, start), Math.min(known[i + 1]?.time ?? end, end)];
    const last = result.at(-1);
    if (to <= from || (value === null && !showsNull)) {
      return;
    }
    if (merge && last?.to === from && last.value === value) {
      last.to = to;
    } else {
      result.push({ from, to, value, display: field.display(value) });
    }
  });
  return result;
}

function legendItems(rows, theme) {
  const { config } = rows[0].field;
  const mode = config.color?.mode ?? 'fixed';
  if (mode === 'thresholds' && config.thresholds?.steps.length > 1) {
    return namedSteps(config, theme).map(({ name, color }) => ({ label: name, color, yAxis: 1 }));
  }
  if (mode.startsWith('continuous')) {
    return [];
  }
  const states = new Map();
  for (const { field } of rows) {
    for (const { text, color } of new Set(field.values.map((value) => field.display(value)))) {
      if (color && text) {
        states.set(text, color);
      }
    }
  }
  return [...states].map(([label, color]) => ({ label, color, yAxis: 1 }));
}

export function StateTimeline({ panel, frames, width, height, timeRange, timeZone }) {
  const theme = useTheme2();
  const { mergeValues = true, rowHeight = 0.9, showValue = 'auto', alignValue = 'left', legend } = panel.options ?? {};
  const all = frames.flatMap((frame) => {
    // Where nothing was measured for longer than a step there are empty values, before and after the data too.
    const filled = applyNullInsertThreshold({
      frame,
      refFieldPseudoMin: timeRange.from.valueOf(),
      refFieldPseudoMax: timeRange.to.valueOf(),
    });
    const times = filled.fields.find((field) => field.type === FieldType.time);
    return filled.fields
      .filter((field) => field !== times && !field.config.custom?.hideFrom?.viz)
      .map((original) => {
        const field = mergeValues ? byThreshold(original, theme) : original;
        const parts = segments(times.values, field, timeRange, mergeValues);
        return { field, name: getFieldDisplayName(original, frame, frames), parts };
      });
  });
  const showLegend = legend?.showLegend ?? true;
  const placement = legend?.placement ?? 'bottom';
  const perPage = panel.options?.perPage || Infinity;
  const rows = all.slice(0, perPage);
  const pages = Math.ceil(all.length / perPage) || 1;
  const pagesHeight = pages > 1 ? 24 : 0;
  return (
    <>
      <VizLayout
        width={width}
        height={height - pagesHeight}
        legend={
          showLegend && (
            <VizLayout.Legend placement={placement}>
              <VizLegend placement={placement} items={legendItems(all, theme)} displayMode="list" readonly />
            </VizLayout.Legend>
          )
        }
      >
        {(w, h) => (
          <Lanes {...{ rows, theme, timeRange, timeZone, rowHeight, showValue, alignValue }} width={w} height={h} />
        )}
      </VizLayout>
      {pages > 1 && <div style={{ textAlign: 'center', height: pagesHeight }}>page 1 of {pages}</div>}
    </>
  );
}

function Lanes({ rows, theme, timeRange, timeZone, rowHeight, showValue, alignValue, width, height }) {
  const [start, end] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  const labels = Math.min(width * 0.4, Math.max(...rows.map(({ name }) => measureText(name, FONT_SIZE).width)) + 12);
  const lane = (height - AXIS_HEIGHT) / rows.length;
  const bar = Math.min(lane - 2, lane * rowHeight);
  const x = (time) => labels + ((time - start) / (end - start)) * (width - labels);
  const step = TICKS.find((tick) => x(start + tick) - x(start) >= 90) ?? TICKS.at(-1);
  const ticks = [];
  for (let time = Math.ceil(start / step) * step; time <= end; time += step) {
    ticks.push(time);
  }
  const format = step < MINUTE ? 'HH:mm:ss' : end - start > 24 * HOUR ? 'MM/DD HH:mm' : 'HH:mm';
  const grid = theme.isDark ? 'rgba(240, 250, 255, 0.09)' : 'rgba(0, 10, 23, 0.09)';
  const textColor = theme.colors.text.primary;
  const anchor = { left: 'start', center: 'middle', right: 'end' }[alignValue];
  const place = (left, right) => ({ left: left + 4, center: (left + right) / 2, right: right - 4 })[alignValue];
  return (
    <svg width={width} height={height} fontSize={FONT_SIZE} fontFamily={theme.typography.fontFamily}>
      {ticks.map((time) => (
        <g key={time}>
          <line x1={x(time)} x2={x(time)} y1={0} y2={height - AXIS_HEIGHT} stroke={grid} />
          <text x={x(time)} y={height - 6} textAnchor="middle" fill={textColor}>
            {x(time) > labels + 16 && x(time) < width - 16 ? dateTimeFormat(time, { format, timeZone }) : ''}
          </text>
        </g>
      ))}
      {rows.map(({ field, name, parts }, i) => {
        const middle = lane * (i + 0.5);
        const { fillOpacity = 70, lineWidth = 0 } = field.config.custom ?? {};
        return (
          <g key={i}>
            <text x={labels - 8} y={middle} textAnchor="end" dominantBaseline="central" fill={textColor}>
              {shorten(name, labels - 8)}
            </text>
            {parts.map(({ from, to, display }) => {
              const [left, right] = [x(from), x(to)];
              const text = formattedValueToString(display);
              const color = display.color ?? FALLBACK_COLOR;
              const fits = measureText(text, FONT_SIZE).width + 8 < right - left && bar >= FONT_SIZE;
              return (
                <g key={from}>
                  <rect
                    x={left}
                    y={middle - bar / 2}
                    width={Math.max(right - left, 1)}
                    height={bar}
                    fill={color}
                    fillOpacity={fillOpacity / 100}
                    stroke={lineWidth > 0 ? color : 'none'}
                    strokeWidth={lineWidth}
                  />
                  {(showValue === 'always' || (showValue === 'auto' && fits)) && (
                    <text
                      x={place(left, right)}
                      y={middle}
                      textAnchor={anchor}
                      dominantBaseline="central"
                      fill={theme.colors.getContrastText(alpha(color, fillOpacity / 100), 3)}
                    >
                      {text}
                    </text>
                  )}
                </g>
              );
            })}
          </g>
        );
      })}
    </svg>
  );
}

const SWEEP = 240;

function arc(cx, cy, radius, from, to) {
  const point = (share) => {
    const angle = ((-90 - SWEEP / 2 + share * SWEEP) * Math.PI) / 180;
    return `${cx + radius * Math.cos(angle)} ${cy + radius * Math.sin(angle)}`;
  };
  const large = (to - from) * SWEEP > 180 ? 1 : 0;
  return `M ${point(from)} A ${radius} ${radius} 0 ${large} 1 ${point(to)}`;
}

/** An arc for the value and a thin one outside for the thresholds. */
export function Gauge({ value, width, height, options, showName }) {
  const theme = useTheme2();
  const { display, field } = value;
  const { min = 0, max = 100 } = field;
  const share = (number) => Math.min(1, Math.max(0, (number - min) / (max - min || 1)));
  const nameHeight = showName ? 22 : 0;
  const room = height - nameHeight;
  const radius = Math.min(width / 2, room / 1.5) - 6;
  const thickness = radius * 0.3;
  const [cx, cy] = [width / 2, radius + 6];
  const text = formattedValueToString(display);
  const natural = measureText(text, 100).width;
  const hole = radius - thickness - 5;
  const size = options.text?.valueSize ?? Math.min(hole * 0.7, (hole * 1.7 * 100) / natural);
  const steps = field.thresholds?.steps ?? [];
  const isPercent = field.thresholds?.mode === 'percentage';
  const starts = steps.map(({ value: at }) => (at === -Infinity || at === null ? 0 : isPercent ? at / 100 : share(at)));
  const showsBand = options.showThresholdMarkers ?? true;
  const inner = radius - thickness / 2 - 5;
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily}>
      <g fill="none">
        <path d={arc(cx, cy, inner, 0, 1)} stroke={theme.colors.action.hover} strokeWidth={thickness} />
        {share(display.numeric) > 0 && (
          <path d={arc(cx, cy, inner, 0, share(display.numeric))} stroke={display.color} strokeWidth={thickness} />
        )}
        {showsBand &&
          steps.map(({ color }, i) => {
            const [from, to] = [starts[i], starts[i + 1] ?? 1];
            return (
              to > from && (
                <path
                  key={i}
                  d={arc(cx, cy, radius, from, to)}
                  stroke={theme.visualization.getColorByName(color)}
                  strokeWidth={4}
                />
              )
            );
          })}
      </g>
      <g fontSize={size} fontWeight={500} fill={display.color}>
        <text x={cx} y={cy} textAnchor="middle" dominantBaseline="central">
          {text}
        </text>
      </g>
      {showName && (
        <text x={cx} y={height - 6} textAnchor="middle" fontSize={14} fill={theme.colors.text.primary}>
          {display.title}
        </text>
      )}
    </svg>
  );
}

const withAnnotations = new WeakSet();

/** Events as Grafana marks them in a time series: a dashed line, and a triangle at its foot. */
export function drawAnnotations(builder, annotations, theme) {
  if (withAnnotations.has(builder) || annotations.length === 0) {
    return null;
  }
  withAnnotations.add(builder);
  builder.addHook('draw', (u) => {
    const { ctx, bbox } = u;
    const pixel = window.devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + 8 * pixel);
    ctx.clip();
    for (const { time, end, color } of annotations) {
      const [from, to] = [u.valToPos(time, 'x', true), u.valToPos(end, 'x', true)];
      const bottom = bbox.top + bbox.height;
      ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(color ?? 'blue');
      ctx.lineWidth = pixel;
      ctx.setLineDash([5, 5]);
      for (const at of to > from ? [from, to] : [from]) {
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at, bottom);
        ctx.stroke();
      }
      if (to > from) {
        ctx.globalAlpha = 0.1;
        ctx.fillRect(from, bbox.top, to - from, bbox.height);
        ctx.globalAlpha = 1;
        ctx.fillRect(from, bottom, to - from, 4 * pixel);
      } else {
        ctx.beginPath();
        ctx.moveTo(from, bottom);
        ctx.lineTo(from - 4 * pixel, bottom + 6 * pixel);
        ctx.lineTo(from + 4 * pixel, bottom + 6 * pixel);
        ctx.fill();
      }
    }
    ctx.restore();
  });
  return null;
}
