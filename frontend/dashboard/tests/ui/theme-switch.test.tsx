import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { openPage } from "../support/page.tsx";

test("a theme is applied at once and kept for the next visit", async () => {
  const { user } = openPage("/");
  await user.selectOptions(screen.getByLabelText("Theme"), "Dark");
  expect(document.documentElement.dataset["theme"]).toBe("dark");
  expect(localStorage.getItem("theme")).toBe("dark");
});
