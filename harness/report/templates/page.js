(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    const ink = dark.matches ? "#c9d1db" : "#39424e";
    const line = dark.matches ? "#2c333d" : "#e3e7ec";
    for (const place of document.querySelectorAll("[data-plot]")) {
      const figure = plots[place.dataset.plot];
      const layout = structuredClone(figure.layout);
      layout.font = { color: ink, family: getComputedStyle(document.body).fontFamily, size: 12 };
      for (const axis of ["xaxis", "yaxis"]) {
        layout[axis].gridcolor = line;
        layout[axis].linecolor = line;
      }
      Plotly.react(place, structuredClone(figure.data), layout, { responsive: true, displaylogo: false, displayModeBar: false });
    }
  };
  paint();
  dark.addEventListener("change", paint);
})();
