// Draws one whole dashboard. The script that serves this page waits for `window.rendered`, a list of faults, and takes
// the picture then.

import { Component, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import {
  createTheme,
  dateTime,
  dateTimeFormat,
  EventBusSrv,
  locationUtil,
  rangeUtil,
  ThemeContext,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, Icon, PanelChrome, PanelContextProvider } from '@grafana/ui';

import { applyFieldConfig, registerTransformers, transform } from './fields.js';
import { PANELS } from './panels.jsx';
import { queryAnnotations, queryPanel } from './query.js';
import { resolveVariables } from './variables.js';

// Grafana's grid: 24 columns, cells of 30 pixels, 8 between them.
const COLUMNS = 24;
const CELL = 30;
const GAP = 8;
const MARGIN = 16;
const TIME_ZONE = 'utc';

const faults = [];
const fault = (text) => faults.includes(text) || faults.push(text);

/** The panels in order, as sections: each row with what belongs to it, and first what is above all rows. */
function sections(dashboard) {
  const sorted = [...(dashboard.panels ?? [])].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  const result = [{ row: null, panels: [] }];
  for (const panel of sorted) {
    if (panel.type === 'row') {
      result.push({ row: panel, panels: [...(panel.panels ?? [])] });
    } else {
      result.at(-1).panels.push(panel);
    }
  }
  return result;
}

/** All panels and row headings at their places; rows are repeated for each value of their variable. */
function layout(dashboard, variables, keepClosed) {
  const result = [];
  let bottom = 0;
  for (const { row, panels: all } of sections(dashboard)) {
    const panels = keepClosed && row?.collapsed ? [] : all;
    const top = Math.min(...panels.map(({ gridPos }) => gridPos.y));
    for (const scope of row?.repeat ? variables.each(row.repeat) : [variables]) {
      if (row) {
        const isClosed = panels.length < all.length;
        result.push({ panel: row, isClosed, variables: scope, x: 0, y: bottom, w: COLUMNS, h: 1 });
        bottom += 1;
      }
      for (const panel of panels) {
        result.push({ panel, variables: scope, ...panel.gridPos, y: panel.gridPos.y - top + bottom });
      }
      bottom = Math.max(bottom, ...result.map(({ y, h }) => y + h));
    }
  }
  return result;
}

function rangeOf(dashboard, { from, now }) {
  if (from) {
    return { from: now - from * 1000, to: now };
  }
  return rangeBack(dashboard.time?.from ?? 'now-1h', now);
}

function rangeBack(text, now) {
  const found = /^(?:now-)?(\d+[smhdwMy])$/.exec(text);
  if (!found) {
    throw new Error(`the time range ${text} is not known to the renderer`);
  }
  return { from: now - rangeUtil.intervalToMs(found[1]), to: now };
}

/** Everything that a panel needs to be drawn; an error takes the place of the data. */
async function load({ panel, variables, w }, context) {
  const { dashboardRange, settings, theme, column } = context;
  const result = { panel, title: variables.replace(panel.title ?? ''), variables, timeZone: TIME_ZONE };
  if (panel.type === 'row') {
    return result;
  }
  try {
    if (!PANELS[panel.type]) {
      throw new Error(`panels of type ${panel.type} are not known to the renderer`);
    }
    if (panel.repeat) {
      throw new Error('repeated panels are not known to the renderer');
    }
    const range = panel.timeFrom ? rangeBack(panel.timeFrom, settings.now) : dashboardRange;
    const [from, to] = [dateTime(range.from), dateTime(range.to)];
    result.timeRange = { from, to, raw: { from, to } };
    const width = w * column - GAP;
    const asked = await queryPanel(panel, variables, range, width, settings.scrapeInterval * 1000);
    const frames = await transform(asked, panel.transformations, variables);
    Object.assign(result, applyFieldConfig(frames, panel, variables, theme, TIME_ZONE));
  } catch (error) {
    console.error(error);
    fault(`panel "${result.title}": ${error.message}`);
    result.error = error.message;
  }
  return result;
}

class Catch extends Component {
  state = {};

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    fault(`panel "${this.props.title}": ${error.message}`);
  }

  render() {
    return this.state.error ? <ErrorText text={this.state.error.message} /> : this.props.children;
  }
}

function ErrorText({ text }) {
  return (
    <div className="message error">
      <Icon name="exclamation-triangle" /> {text}
    </div>
  );
}

function Panel({ loaded, width, height, annotations }) {
  const { panel, title, error } = loaded;
  const Draw = PANELS[panel.type];
  const bare = panel.type === 'table';
  return (
    <PanelChrome
      title={title}
      description={panel.description ? loaded.variables.replace(panel.description) : undefined}
      width={width}
      height={height}
      padding={bare ? 'none' : 'md'}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      statusMessage={error}
    >
      {(innerWidth, innerHeight) =>
        error ? (
          <ErrorText text={error} />
        ) : (
          <Catch title={title}>
            <Draw {...loaded} annotations={annotations} width={innerWidth} height={innerHeight} />
          </Catch>
        )
      }
    </PanelChrome>
  );
}

function Row({ title, isClosed }) {
  return (
    <div className="heading">
      <Icon name={isClosed ? 'angle-right' : 'angle-down'} /> {title}
    </div>
  );
}

function Top({ dashboard, variables, range }) {
  const time = (at) => dateTimeFormat(at, { format: 'YYYY-MM-DD HH:mm:ss', timeZone: TIME_ZONE });
  return (
    <header>
      <h1>{dashboard.title}</h1>
      {variables.shown().map(({ label, text, values }) => (
        <span key={label} className="variable">
          <label>{label}</label>
          <b>{text || values.join(' + ') || 'None'}</b>
        </span>
      ))}
      <span className="time">
        <Icon name="clock-nine" /> {time(range.from)} to {time(range.to)} UTC
      </span>
    </header>
  );
}

const context = { eventsScope: 'global', eventBus: new EventBusSrv() };

/** What is the same before and after there is something to show, so that the fonts are not fetched again. */
function Frame({ theme, children }) {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles isExploreQueryEditor={false} />
      <style>{styles(theme)}</style>
      {children}
    </ThemeContext.Provider>
  );
}

function Page({ dashboard, items, variables, range, annotations, column, onDrawn }) {
  useEffect(() => onDrawn(), [onDrawn]);
  const rows = Math.max(0, ...items.map(({ y, h }) => y + h));
  return (
    <PanelContextProvider value={context}>
      <Top dashboard={dashboard} variables={variables} range={range} />
      <main style={{ height: rows * (CELL + GAP) }}>
        {items.map(({ loaded, isClosed, x, y, w, h }, i) => {
          const width = Math.round(w * column - GAP);
          const height = h * CELL + (h - 1) * GAP;
          return (
            <section key={i} style={{ left: x * column, top: y * (CELL + GAP), width, height }}>
              {loaded.panel.type === 'row' ? (
                <Row title={loaded.title} isClosed={isClosed} />
              ) : (
                <Panel loaded={loaded} width={width} height={height} annotations={annotations} />
              )}
            </section>
          );
        })}
      </main>
    </PanelContextProvider>
  );
}

function styles(theme) {
  const { colors, typography } = theme;
  return `
    html, body { height: auto; margin: 0; overflow: visible; background: ${colors.background.canvas}; }
    #root { padding: ${MARGIN}px; }
    header { display: flex; align-items: center; gap: 12px; margin-bottom: 12px; }
    header h1 { font-size: 20px; margin: 0 12px 0 0; }
    .variable { display: inline-flex; border: 1px solid ${colors.border.weak}; border-radius: 4px; font-size: 12px; }
    .variable label { padding: 5px 8px; color: ${colors.text.secondary}; margin: 0; }
    .variable b { padding: 5px 8px; font-weight: 500; background: ${colors.background.primary}; }
    .time { margin-left: auto; color: ${colors.text.secondary}; font-size: 12px; }
    main { position: relative; }
    section { position: absolute; }
    .heading { font-size: ${typography.h5.fontSize}; font-weight: 500; line-height: ${CELL}px; }
    .message { display: flex; align-items: center; justify-content: center; gap: 8px; height: 100%; }
    .message.error { color: ${colors.error.text}; overflow: hidden; padding: 8px; }
    .text { height: 100%; overflow: hidden; }
  `;
}

/** Fonts must be there before anything is measured. */
function loadFonts() {
  const wanted = ['400 14px Inter', '500 14px Inter', '400 14px "Roboto Mono"'];
  return Promise.all(wanted.map((font) => document.fonts.load(font)));
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function start() {
  const settings = await (await fetch('/settings.json')).json();
  // "A minute ago" is a minute before the end of the time range, whenever the picture is made.
  const clock = Date.now;
  const offset = settings.now - clock();
  Date.now = () => clock() + offset;
  const dashboard = await (await fetch(`/dashboard.json${window.location.search}`)).json();
  const theme = createTheme({ colors: { mode: settings.theme } });
  // A style sheet with the fonts has to be on the page before they can be asked for.
  const root = createRoot(document.getElementById('root'));
  root.render(<Frame theme={theme} />);
  await initPluginTranslations('renderer');
  registerTransformers();
  // Nobody clicks on links, but what is one looks different.
  locationUtil.initialize({ config: {}, getVariablesUrlParams: () => ({}), getTimeRangeForUrl: () => ({}) });
  await pause(50);
  await loadFonts();

  const dashboardRange = rangeOf(dashboard, settings);
  const column = (settings.width - 2 * MARGIN + GAP) / COLUMNS;
  const variables = await resolveVariables(dashboard.templating?.list ?? [], settings.variables, dashboardRange);
  const scrapeInterval = settings.scrapeInterval * 1000;
  let annotations = [];
  try {
    annotations = await queryAnnotations(dashboard.annotations?.list ?? [], variables, dashboardRange, scrapeInterval);
  } catch (error) {
    fault(`annotations: ${error.message}`);
  }
  const places = layout(dashboard, variables, settings.keepClosed);
  const items = await Promise.all(
    places.map(async (place) => ({ ...place, loaded: await load(place, { dashboardRange, settings, theme, column }) }))
  );
  await new Promise((drawn) =>
    root.render(
      <Frame theme={theme}>
        <Page {...{ dashboard, items, variables, annotations, column }} range={dashboardRange} onDrawn={drawn} />
      </Frame>
    )
  );
  // Icons are fetched one by one, and tables measure themselves before they settle.
  await pause(1000);
}

window.addEventListener('error', ({ message }) => fault(`the page: ${message}`));
start().then(
  () => (window.rendered = faults),
  (error) => {
    console.error(error);
    fault(error.message);
    document.getElementById('root').textContent = error.message;
    window.rendered = faults;
  }
);
