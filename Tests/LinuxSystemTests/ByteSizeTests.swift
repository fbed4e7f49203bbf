import LinuxSystem
import Testing

struct ByteSizeTests {
    @Test(
        arguments: [
            ("0", 0), ("512", 512), ("1K", 1024), ("3k", 3072), ("2M", 2 << 20), ("10G", 10 << 30), ("1T", 1 << 40),
            ("8388607T", 8_388_607 << 40),
            ("9223372036854775807", UInt64(Int64.max)),
        ] as [(String, UInt64)])
    func reads(_ text: String, _ bytes: UInt64) {
        #expect(ByteSize(parsing: text)?.bytes == bytes)
    }

    @Test(arguments: [
        "", "K", "-1", "+1", "1.5G", "1 G", "1GB", "1GiB", "0x10", "9223372036854775808", "8388608T", "99999999999999999999", "1P", "١",
    ])
    func refuses(_ text: String) {
        #expect(ByteSize(parsing: text) == nil)
    }

    @Test(
        arguments: [
            (0, "0", "0 B"), (512, "512", "512 B"), (1024, "1K", "1 KiB"), (1536, "1536", "1.5 KiB"), (10 << 30, "10G", "10 GiB"),
            (1 << 40, "1T", "1 TiB"), (3 << 50, "3072T", "3 PiB"), ((1 << 30) - 1, "1073741823", "1023.9 MiB"),
            (UInt64(Int64.max), "9223372036854775807", "7.9 EiB"),
        ] as [(UInt64, String, String)])
    func writes(_ bytes: UInt64, _ exact: String, _ text: String) {
        #expect(ByteSize(bytes).exactText == exact)
        #expect(ByteSize(parsing: exact)?.bytes == bytes)
        #expect(ByteSize(bytes).description == text)
    }
}
