// Bytes as text.

export function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64.trim()), (sign) => sign.charCodeAt(0));
}

export function base64Of(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
