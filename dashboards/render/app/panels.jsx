// One component for each type of panel: it takes prepared frames and draws them with Grafana's own components.

import { useMemo } from 'react';
import {
  FieldType,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  renderMarkdown,
  VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, useTheme2, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

import { drawAnnotations, Gauge, StateTimeline } from './drawn.jsx';

const isEmpty = (frames) => frames.every((frame) => frame.length === 0);
const has = (frames, ...types) => frames.some((frame) => frame.fields.some((field) => types.includes(field.type)));

function Message({ children }) {
  return <div className="message">{children}</div>;
}

/** What Grafana shows in place of a picture when there is nothing to draw. */
function nothingToDraw({ panel, frames }, ...types) {
  if (isEmpty(frames)) {
    return <Message>{panel.fieldConfig?.defaults?.noValue || 'No data'}</Message>;
  }
  if (types.length > 0 && !has(frames, FieldType.time)) {
    return <Message>Data is missing a time field</Message>;
  }
  if (types.length > 0 && !has(frames, ...types)) {
    return <Message>Data is missing a number field</Message>;
  }
  return null;
}

/** The values of a stat, gauge or bar gauge, as many as there are, side by side. */
function Values({ panel, frames, fieldConfig, width, height, timeZone, variables, draw, ...more }) {
  const theme = useTheme2();
  const { options = {} } = panel;
  const graph = options.graphMode ?? 'area';
  const orientation = options.orientation ?? 'auto';
  const getValues = () =>
    getFieldDisplayValues({
      fieldConfig,
      reduceOptions: { values: false, calcs: ['lastNotNull'], fields: '', ...options.reduceOptions },
      replaceVariables: (text) => variables.replace(text),
      theme,
      data: frames,
      sparkline: panel.type === 'stat' && graph !== 'none',
      percentChange: options.showPercentChange,
      timeZone,
    });
  return (
    <VizRepeater
      getValues={getValues}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={(props) => draw({ ...props, theme, options })}
      width={width}
      height={height}
      source={frames}
      itemSpacing={3}
      renderCounter={1}
      autoGrid
      orientation={orientation === 'auto' ? VizOrientation.Auto : orientation}
      {...more}
    />
  );
}

function Stat(props) {
  const draw = ({ value, alignmentFactors, width, height, count, theme, options }) => (
    <BigValue
      value={value.display}
      count={count}
      sparkline={value.sparkline && { ...value.sparkline, timeRange: props.timeRange }}
      colorMode={options.colorMode ?? 'value'}
      graphMode={options.graphMode ?? 'area'}
      justifyMode={options.justifyMode ?? 'auto'}
      textMode={options.textMode ?? 'auto'}
      alignmentFactors={alignmentFactors}
      text={options.text}
      width={width}
      height={height}
      theme={theme}
      disableWideLayout={!(options.wideLayout ?? true)}
      percentChangeColorMode={options.percentChangeColorMode}
    />
  );
  return <Values {...props} draw={draw} />;
}

function Bars(props) {
  const draw = ({ value, alignmentFactors, width, height, orientation, theme, options }) => (
    <BarGauge
      value={value.display}
      width={width}
      height={height}
      orientation={orientation}
      field={value.field}
      text={options.text}
      display={value.view?.getFieldDisplayProcessor(value.colIndex)}
      theme={theme}
      itemSpacing={10}
      alignmentFactors={alignmentFactors}
      displayMode={options.displayMode ?? 'gradient'}
      showUnfilled={options.showUnfilled ?? true}
      valueDisplayMode={options.valueMode ?? 'color'}
      namePlacement={options.namePlacement ?? 'auto'}
    />
  );
  return <Values {...props} draw={draw} itemSpacing={10} autoGrid={false} minVizHeight={10} minVizWidth={0} />;
}

function Gauges(props) {
  const draw = ({ value, width, height, count, options }) => (
    <Gauge value={value} width={width} height={height} options={options} showName={count > 1} />
  );
  return <Values {...props} draw={draw} />;
}

/** Values that cannot be drawn are gaps. */
function finite(frames) {
  return frames
    .filter((frame) => frame.length > 0)
    .map((frame) => ({
      ...frame,
      fields: frame.fields.map((field) =>
        field.type === FieldType.number
          ? { ...field, values: field.values.map((v) => (Number.isFinite(v) ? v : null)) }
          : field
      ),
    }));
}

function Graph(props) {
  const { panel, frames, width, height, timeRange, timeZone, annotations } = props;
  const theme = useTheme2();
  const drawable = useMemo(() => finite(frames), [frames]);
  const empty = nothingToDraw(props, FieldType.number);
  if (empty) {
    return empty;
  }
  const legend = { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [], ...panel.options?.legend };
  return (
    <TimeSeries
      frames={drawable}
      structureRev={1}
      timeRange={timeRange}
      timeZone={timeZone}
      width={width}
      height={height}
      legend={legend}
      options={panel.options}
    >
      {(builder) => drawAnnotations(builder, annotations, theme)}
    </TimeSeries>
  );
}

function Table(props) {
  const { panel, frames, fieldConfig, width, height, timeRange } = props;
  const { options = {} } = panel;
  const frame = frames[options.frameIndex ?? 0];
  if (!frame || frame.fields.length === 0) {
    return nothingToDraw({ ...props, frames: [] });
  }
  return (
    <TableNG
      data={frame}
      width={width}
      height={height}
      noHeader={options.showHeader === false}
      showTypeIcons={options.showTypeIcons}
      sortBy={options.sortBy}
      sortByBehavior="initial"
      cellHeight={options.cellHeight}
      maxRowHeight={options.maxRowHeight}
      frozenColumns={options.frozenColumns?.left}
      enablePagination={options.enablePagination ?? options.footer?.enablePagination}
      noValue={fieldConfig.defaults.noValue}
      fieldConfig={fieldConfig}
      timeRange={timeRange}
      structureRev={1}
      enableVirtualization={false}
    />
  );
}

function Timeline(props) {
  return nothingToDraw(props, FieldType.number, FieldType.string, FieldType.boolean) ?? <StateTimeline {...props} />;
}

function Text({ panel, variables }) {
  const { content = '', mode = 'markdown' } = panel.options ?? {};
  const text = variables.replace(content);
  if (mode === 'code') {
    return <pre className="text">{text}</pre>;
  }
  const html = mode === 'markdown' ? renderMarkdown(text) : text;
  return <div className="text markdown-html" dangerouslySetInnerHTML={{ __html: html }} />;
}

export const PANELS = {
  stat: Stat,
  gauge: Gauges,
  bargauge: Bars,
  timeseries: Graph,
  table: Table,
  'state-timeline': Timeline,
  text: Text,
};
