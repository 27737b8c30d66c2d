// Closes the buttons that take a result's files home while those are not of what is shown: from a change on until files
// that were begun after the last one are there.
(moment) => {
  const buttons = document.querySelector("#downloads"), count = buttons.dataset;
  if (moment === "changed") count.changed = Number(count.changed ?? 0) + 1;
  if (moment === "begun") count.begun = count.changed;
  if (moment === "changed" || count.begun === count.changed) buttons.inert = moment !== "written";
}
