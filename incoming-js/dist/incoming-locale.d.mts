/**
 * Types of `incoming-js/locales/*`. The build copies this file to `dist/incoming-locale.d.mts`.
 */
import type { Text } from './incoming-ui.mjs';

/** For `add_language`. */
declare const texts: Record<string, Text>;
export default texts;
