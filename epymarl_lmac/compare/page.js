// Filters the page by environment and shows or hides algorithms. Without it everything is shown.
(() => {
  const choice = document.getElementById("env");
  const filter = () => {
    for (const part of document.querySelectorAll("[data-env]")) {
      part.hidden = choice.value !== "" && part.dataset.env !== choice.value;
    }
  };
  if (choice) {
    choice.addEventListener("change", filter);
    filter();
  }
  for (const box of document.querySelectorAll("input[data-alg]")) {
    const show = () => document.body.classList.toggle(`hide-${box.dataset.alg}`, !box.checked);
    box.addEventListener("change", show);
    show();
  }
})();
