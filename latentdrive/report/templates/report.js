// Draws every chart in the colours of the theme, and again when the theme changes.
const scheme = window.matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { text: value("--text"), line: value("--line"), card: value("--card") };
}

function layoutOf(given, paint) {
  const axis = { gridcolor: paint.line, zerolinecolor: paint.line, linecolor: paint.line, automargin: true };
  return {
    ...given,
    autosize: true,
    margin: { l: 50, r: 12, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: paint.text, family: "system-ui, sans-serif", size: 12 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { bgcolor: paint.card, font: { color: paint.text } },
    xaxis: { ...axis, ...given.xaxis },
    yaxis: { ...axis, ...given.yaxis },
  };
}

// Whiskers take the colour of the text, unless a chart sets another.
function whiskersOf(trace, paint) {
  const names = ["error_x", "error_y"].filter((name) => name in trace);
  return Object.fromEntries(names.map((name) => [name, { color: paint.text, ...trace[name] }]));
}

// A colour scale starts at the colour of the card, so that small values fade into it in either theme.
function dataOf(trace, paint) {
  if (trace.type !== "heatmap") return { ...trace, ...whiskersOf(trace, paint) };
  return { ...trace, colorscale: [[0, paint.card], [0.5, "#5b8def"], [1, scheme.matches ? "#dbe8ff" : "#0b3a8f"]] };
}

async function drawAll() {
  const paint = colours();
  let drawn = 0;
  for (const place of document.querySelectorAll("[data-chart]")) {
    try {
      const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
      const data = spec.data.map((trace) => dataOf(trace, paint));
      await Plotly.react(place, data, layoutOf(spec.layout, paint), { responsive: true, displayModeBar: false });
      drawn += 1;
    } catch (error) {
      noteError(`${place.dataset.chart}: ${error.message}`);
      place.textContent = `This chart could not be drawn: ${error.message}`;
    }
  }
  document.documentElement.dataset.drawn = drawn;
}

drawAll();
scheme.addEventListener("change", drawAll);
