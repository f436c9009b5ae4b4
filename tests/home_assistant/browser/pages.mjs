// Uses the pages of Home Assistant in a headless Chromium.
//   node pages.mjs FILE     FILE is a JSON file with the members that are read from `task` below
// It adds a backup location with the values of `form`. Before that, it submits the form with each change in
// `wrong`: its `text` must be visible at `field` without scrolling, on each of `screens`. Then it makes a
// backup, and shows, downloads and deletes it. The file `paused` appears in the middle of the upload, which
// continues after the screenshot.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'

const task = JSON.parse(readFileSync(process.argv[2]))
const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-first-run',
  ],
})
const page = await browser.newPage({ viewport: { width: 1000, height: 1000 }, locale: 'en-GB' })
page.setDefaultTimeout(30_000)

const picture = async (name) => {
  await page.waitForTimeout(500) // until animations have ended
  await page.screenshot({ path: `${task.pictures}/${name}.png` })
}
const button = (name) => page.getByRole('button', { name, exact: true })
const form = page.locator('dialog-data-entry-flow')

async function logIn() {
  await page.goto(task.url)
  await page.locator('input[name=username]').fill(task.username)
  await page.locator('input[name=password]').fill(task.password)
  await page.keyboard.press('Enter')
  await page.locator('ha-sidebar').waitFor()
}

// Fills in the visible fields and submits the form.
async function fill(values) {
  const fields = form.locator('ha-form ha-selector')
  await form.locator('input').nth(1).waitFor()
  const names = await fields.evaluateAll((elements) => elements.map((element) => element.name))
  for (const [name, value] of Object.entries(values)) {
    const input = fields.nth(names.indexOf(name)).locator('input')
    if (names.includes(name) && await input.isVisible()) await input.fill(value)
  }
  await form.getByRole('button', { name: 'Submit' }).click()
}

// Whether an element is completely visible without scrolling the page or the dialog.
const isSeen = (element) => element.evaluate((seen) => {
  const { left, right, top, bottom } = seen.getBoundingClientRect()
  const at = (x, y) => {
    let found = document.elementFromPoint(x, y)
    while (found?.shadowRoot?.elementFromPoint(x, y) && found !== found.shadowRoot.host.none) {
      const inner = found.shadowRoot.elementFromPoint(x, y)
      if (inner === found) break
      found = inner
    }
    for (let node = found; node; node = node.parentNode ?? node.host) if (node === seen) return true
    return false
  }
  const middle = (left + right) / 2
  return at(middle, top + 2) && at(middle, bottom - 2)
})

// The field of an error, which is the element after it.
const fieldOf = (alert) => alert.evaluate((element) => element.nextElementSibling?.name)

async function openForm() {
  await page.goto(`${task.url}/config/integrations/dashboard/add?domain=s3_backup_agent`)
  await button('OK').click()
  await form.getByLabel('Provider').first().click()
  await picture('provider')
  await form.locator('ha-dropdown-item').filter({ hasText: /other/i }).click()
  await form.getByRole('button', { name: 'Submit' }).click()
  await form.locator('input').nth(1).waitFor()
}

async function addStorage() {
  for (const [width, height] of task.screens) {
    await page.setViewportSize({ width, height })
    await openForm()
    await picture(`form-${width}`)
    for (const [number, { change, field, text }] of task.wrong.entries()) {
      await fill({ ...task.form, ...change })
      const alert = form.locator('ha-alert').filter({ hasText: text })
      await alert.waitFor()
      await picture(`error-${width}-${number}-${field}`)
      assert.equal(await fieldOf(alert), field, `the field at which "${text}" is shown`)
      assert.ok(await isSeen(alert), `"${text}" is out of sight at ${width}x${height}`)
    }
  }
  await page.setViewportSize({ width: 1000, height: 1000 })
  await form.locator('ha-expansion-panel').click()
  await form.locator('ha-form-expandable ha-selector').first().waitFor()
  await picture('form-open')
  await fill(task.form)
  await form.getByRole('button', { name: /Finish|Skip and finish/ }).click()
}

async function makeBackup() {
  await page.goto(`${task.url}/config/backup/overview`)
  await button('Backup now').click()
  await page.getByText('Manual backup', { exact: true }).click()
  await button('Next').click()
  const dialog = page.locator('ha-dialog-generate-backup')
  await dialog.locator('input[name=name]').fill(task.name)
  await dialog.locator('ha-select').click()
  await dialog.locator('ha-dropdown-item').filter({ hasText: 'Custom' }).click()
  await dialog.locator('ha-backup-agents-picker').getByText('S3 Backup Agent').click()
  await picture('location')
  await button('Create backup').click()
  while (!existsSync(task.paused)) await page.waitForTimeout(200)
  await page.getByText(/[1-9][0-9]?\s?%/).first().waitFor()
  await picture('progress')
}

async function useBackup() {
  await page.goto(`${task.url}/config/backup/backups`)
  await page.getByText(task.name).first().click({ timeout: 120_000 })
  await page.getByText('Select what to restore').waitFor()
  await picture('backup')
  const menu = page.locator('ha-config-backup-details').getByRole('button', { name: 'Menu' })
  await menu.last().click()
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('ha-dropdown-item:visible').filter({ hasText: 'Download' }).click(),
  ])
  await download.saveAs(task.downloaded)
  await menu.first().click()
  await page.locator('ha-dropdown-item:visible').filter({ hasText: /^\s*Delete/ }).first().click()
  await button('Delete').last().click()
  await page.waitForURL((url) => !url.pathname.includes('details'))
}

try {
  await logIn()
  await addStorage()
  await picture('integration')
  await makeBackup()
  await useBackup()
} catch (error) {
  await page.screenshot({ path: `${task.pictures}/failed.png` })
  throw error
} finally {
  await browser.close()
}
