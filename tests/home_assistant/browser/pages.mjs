// The way of an owner through the pages of Home Assistant, in Chromium without a window.
//   node pages.mjs FILE     a JSON file with what `task` is asked for below
// A storage is added as `form` says, at first with the changes of each of `wrong`, whose `text` has
// to be seen at `field`. Then a backup is made there, seen, downloaded and deleted. The file `paused`
// appears half-way through the upload, which goes on after the picture of it.

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
  await page.waitForTimeout(500) // until what moves has come to rest
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

async function fill(values) {
  const fields = form.locator('ha-form ha-selector')
  await form.locator('input').nth(1).waitFor()
  const names = await fields.evaluateAll((elements) => elements.map((element) => element.name))
  for (const [name, value] of Object.entries(values)) {
    await fields.nth(names.indexOf(name)).locator('input').fill(value)
  }
  await form.getByRole('button', { name: 'Submit' }).click()
}

// The field that the error is shown at: it stands right before it.
const fieldOf = (alert) => alert.evaluate((element) => element.nextElementSibling?.name)

async function addStorage() {
  await page.goto(`${task.url}/config/integrations/dashboard/add?domain=s3_backup_agent`)
  await button('OK').click()
  await form.getByLabel('Provider').first().click()
  await picture('provider')
  await form.locator('ha-dropdown-item').filter({ hasText: /other/i }).click()
  await form.getByRole('button', { name: 'Submit' }).click()
  for (const { change, field, text } of task.wrong) {
    await fill({ ...task.form, ...change })
    const alert = form.locator('ha-alert').filter({ hasText: text })
    await alert.waitFor()
    assert.equal(await fieldOf(alert), field, `the field at which "${text}" is shown`)
    await alert.scrollIntoViewIfNeeded()
    await picture(`error-${field}`)
  }
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
